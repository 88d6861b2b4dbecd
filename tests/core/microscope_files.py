"""Small files as microscopes write them, for tests of reading."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

#: What the files of `write_*` say of themselves, in the units of `FileValues`.
SAID = {
    "high_tension_kv": 60.0,
    "convergence_semi_angle_mrad": 30.0,
    "inner_mrad": 70.0,
    "outer_mrad": 200.0,
    "pixel_size_angstrom": 0.2,
    "dwell_us": 4.0,
    "probe_current_pa": 50.0,
}
NION_METADATA: dict[str, Any] = {
    "hardware_source": {"channel_name": "HAADF", "pixel_time_us": 4.0},
    "instrument": {"high_tension": 60000.0},
    "scan": {
        "scan_device_properties": {
            "ImageScanned:probe_ha": 0.03,
            "ImageScanned:HAADF_Inner_ha": 0.07,
            "ImageScanned:HAADF_Outer_ha": 0.2,
        }
    },
}


def write_dm(path: Path, pixels: NDArray[Any], tags: dict[str, Any] | None = None) -> None:
    """DigitalMicrograph's format by the suffix, through Nion Swift's own writer."""
    from nion.data import Calibration, DataAndMetadata
    from nionswift_plugin.DM_IO import dm3_image_utils

    told = tags or {
        "Microscope Info": {"Voltage": 60000.0, "Probe Current (nA)": 0.05},
        "EELS": {"Convergence semi-angle (mrad)": 30.0},
        "DigiScan": {"Sample Time": 2.0, "Number Summing Frames": 2.0},
        "DataBar": {"Signal Name": "HAADF"},
    }
    pixel = Calibration.Calibration(0, 0.02, "nm")
    frames = Calibration.Calibration(0, 1.0, "")
    calibrations = [*([frames] * (pixels.ndim - 2)), pixel, pixel]
    descriptor = DataAndMetadata.DataDescriptor(pixels.ndim == 3, 0, 2)
    data = DataAndMetadata.new_data_and_metadata(
        pixels, dimensional_calibrations=calibrations, data_descriptor=descriptor, metadata=told
    )
    with path.open("wb") as file:
        dm3_image_utils.save_image(data, file, int(path.suffix[-1]))


def write_velox(path: Path, detectors: dict[str, NDArray[Any]], **optics: Any) -> None:
    """Velox: an image of each detector, stacks as (frames, height, width)."""
    with h5py.File(path, "w") as file:
        file["Version"] = np.array(
            [json.dumps({"format": "Velox", "version": "1.0"})], dtype=h5py.string_dtype()
        )
        for number, (name, pixels) in enumerate(detectors.items()):
            group = file.create_group(f"Data/Image/{number:032x}")
            stack = pixels if pixels.ndim == 3 else pixels[None]
            group["Data"] = np.moveaxis(stack, 0, 2)
            metadata = {
                "Core": {"MetadataDefinitionVersion": "7.9"},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "0"}},
                "Instrument": {"InstrumentModel": "Titan", "InstrumentId": "1"},
                "BinaryResult": {
                    "PixelSize": {"width": "2e-11", "height": "2e-11"}, "Offset": {"x": "0", "y": "0"},
                    "PixelUnitX": "m", "PixelUnitY": "m", "DetectorIndex": "0",
                },
                "Detectors": {
                    "Detector-0": {
                        "DetectorName": name, "CollectionAngleRange": {"begin": "0.07", "end": "0.2"},
                    }
                },
                "Optics": {
                    "AccelerationVoltage": "60000", "BeamConvergence": "0.03", "LastMeasuredScreenCurrent": "5e-11",
                    **optics,
                },
                "Scan": {"DwellTime": "4e-06", "FrameTime": "1.0"},
            }  # fmt: skip
            content = np.zeros((8192, 1), np.uint8)
            text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
            content[: len(text), 0] = text
            group["Metadata"] = content


def write_ncem(path: Path, pixels: NDArray[Any], **microscope: Any) -> None:
    """The EMD of the National Center for Electron Microscopy, version 0.2."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.create_group("signals/image")
        group.attrs["emd_group_type"] = 1
        group["data"] = pixels.transpose()
        for number, length in enumerate(pixels.shape[::-1], 1):
            axis = group.create_dataset(f"dim{number}", data=np.arange(length) * 0.02)
            axis.attrs.update({"name": "xyz"[number - 1], "units": "[n_m]"})
        told = {
            "voltage": 60.0, "voltage_units": "[kV]", "convergence_angle": 30.0, "convergence_angle_units": "[mrad]",
            "inner_angle": 0.07, "inner_angle_units": "rad", "outer_angle": 200.0, "outer_angle_units": "mrad",
            "dwell_time": 4.0, "dwell_time_units": "us", "probe_current": 0.05, "probe_current_units": "nA",
            **microscope,
        }  # fmt: skip
        file.create_group("microscope").attrs.update(told)


def write_ser(path: Path, stack: NDArray[np.uint16], emi: bool = True) -> None:
    """TIA: (frames, height, width), its lower row first, and the ``.emi`` beside it for ``NAME_1.ser``."""
    count, height, width = stack.shape
    dimension = (
        struct.pack("<IddI", count, 0.0, 1.0, 0) + struct.pack("<I", 6) + b"Number" + struct.pack("<I", 0)
    )
    start = struct.pack("<HHHIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, count, count)
    at = len(start) + 8 + len(dimension)
    elements = [
        struct.pack("<ddIddIHII", 0.0, 2e-11, 0, 0.0, 2e-11, 0, 2, width, height)
        + image[::-1].astype("<u2").tobytes()
        + struct.pack("<HHI", 0x4152, 0, 0)
        for image in stack
    ]
    offsets = [at + sum(map(len, elements[:k])) for k in range(count)]
    tags = [o + len(e) - 8 for o, e in zip(offsets, elements, strict=True)]
    places = struct.pack(f"<{2 * count}I", *offsets, *tags)
    path.write_bytes(
        start + struct.pack("<II", at + sum(map(len, elements)), 1) + dimension + b"".join(elements) + places
    )
    if emi:
        data = "<Data><Label>High tension</Label><Value>60</Value><Unit>kV</Unit></Data>"
        xml = (
            "<ObjectInfo><AcquireInfo><DwellTimePath>4e-06</DwellTimePath></AcquireInfo><ExperimentalDescription><Root>"
            f"{data}</Root></ExperimentalDescription></ObjectInfo>"
        )
        path.with_name(path.stem.rpartition("_")[0] + ".emi").write_bytes(b"JL\0\0" + xml.encode() + b"\0\0")
