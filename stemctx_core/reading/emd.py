"""EMD, of Velox and of the National Center for Electron Microscopy, read by RosettaSciIO.

Velox keeps each detector of a scan as an image of its own, with its collection angles where the microscope knew them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py

from stemctx_core.context import Quantity
from stemctx_core.errors import InputError
from stemctx_core.reading.hdf5 import check_hdf5
from stemctx_core.reading.images import MOST_IMAGES, MOST_PIXELS, FoundImage, refuse_shape
from stemctx_core.reading.rosetta import pixel_size_of_axes, text
from stemctx_core.reading.values import NOT_STATED, FileValues, Tag, find, look_up

_VELOX_IMAGES: Final = "Data/Image"


def read(path: Path) -> list[FoundImage]:
    """Images and stacks of an EMD file; spectra and diffraction patterns are left where they are."""
    from rsciio.emd import file_reader

    check_hdf5(path)
    with h5py.File(path, "r") as file:
        velox = "Version" in file and "Data" in file
        datasets = _velox_datasets(file, path) if velox else _ncem_datasets(file)
        for dataset in datasets:
            if dataset.size > MOST_PIXELS:
                refuse_shape(dataset.shape, path)
        paths = [d.name.lstrip("/") for d in datasets]
    if not paths:
        raise InputError(f"{path} holds no image.")
    if len(paths) > MOST_IMAGES:
        raise InputError(f"{path} holds {len(paths)} images; at most {MOST_IMAGES} are read. Split it.")
    if velox:
        return [_of_velox(one) for one in file_reader(str(path), select_type="images")]
    found = file_reader(str(path), dataset_path=paths, stack_group=False)
    return [_of_ncem(one, several=len(found) > 1) for one in found]


def _velox_datasets(file: h5py.File, path: Path) -> list[h5py.Dataset]:
    groups = file.get(_VELOX_IMAGES)
    if not isinstance(groups, h5py.Group):
        raise InputError(f"{path} holds no image.")
    datasets = [g["Data"] for g in groups.values() if isinstance(g, h5py.Group) and "Data" in g]
    for dataset in datasets:
        if dataset.ndim != 3:
            refuse_shape(dataset.shape, path)
    return datasets


def _ncem_datasets(file: h5py.File) -> list[h5py.Dataset]:
    """Images and stacks of real numbers in groups that say that they are EMD's."""
    found: list[h5py.Dataset] = []

    def look(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.name.rsplit("/", 1)[-1].startswith(("data", "realslice")):
            stack = item.ndim in {2, 3} and item.dtype.kind in "uif"
            if stack and item.parent.attrs.get("emd_group_type", 0):
                found.append(item)

    file.visititems(look)
    return found


def _of_velox(one: Mapping[str, Any]) -> FoundImage:
    tags = one["original_metadata"]
    detector = f"Detectors/Detector-{find(tags, 'BinaryResult/DetectorIndex')}/"
    name = text(find(one["metadata"], "General/title")) or text(find(tags, detector + "DetectorName"))
    inner, outer = (_collection(tags, detector, end) for end in ("begin", "end"))
    said = FileValues(
        high_tension_kv=look_up(tags, "high_tension_kv", [Tag("Optics/AccelerationVoltage", 1e-3)]),
        convergence_semi_angle_mrad=look_up(
            tags, "convergence_semi_angle_mrad", [Tag("Optics/BeamConvergence", 1e3)]
        ),
        inner_mrad=inner,
        outer_mrad=outer,
        pixel_size_angstrom=pixel_size_of_axes(one["axes"]),
        dwell_us=look_up(tags, "dwell_us", [Tag("Scan/DwellTime", 1e6)]),
        probe_current_pa=look_up(
            tags,
            "probe_current_pa",
            [Tag("Optics/ProbeCurrent", 1e12), Tag("Optics/LastMeasuredScreenCurrent", 1e12)],
        ),
    )
    return FoundImage(one["data"], name, said)


def _collection(tags: Mapping[str, Any], detector: str, end: str) -> Quantity:
    """An end of a detector's range (mrad), from rad."""
    quantity = "inner_mrad" if end == "begin" else "outer_mrad"
    return look_up(tags, quantity, [Tag(f"{detector}CollectionAngleRange/{end}", 1e3)])


def _of_ncem(one: Mapping[str, Any], several: bool) -> FoundImage:
    tags = one["original_metadata"]
    name = text(find(one["metadata"], "General/title")) if several else ""
    said = FileValues(
        high_tension_kv=_with_unit(
            tags, "high_tension_kv", ("voltage", "accelerating_voltage", "high_tension"), {"kv": 1.0, "v": 1e-3}
        ),
        convergence_semi_angle_mrad=_with_unit(
            tags,
            "convergence_semi_angle_mrad",
            ("convergence_semi_angle", "convergence_angle", "convergence"),
            _MRAD,
        ),
        inner_mrad=_with_unit(tags, "inner_mrad", ("inner_angle", "detector_inner_angle"), _MRAD),
        outer_mrad=_with_unit(tags, "outer_mrad", ("outer_angle", "detector_outer_angle"), _MRAD),
        pixel_size_angstrom=pixel_size_of_axes(one["axes"]),
        dwell_us=_with_unit(tags, "dwell_us", ("dwell_time",), {"s": 1e6, "us": 1.0, "µs": 1.0}),
        probe_current_pa=_with_unit(
            tags, "probe_current_pa", ("probe_current", "beam_current"), {"pa": 1.0, "na": 1e3, "a": 1e12}
        ),
    )
    return FoundImage(one["data"], name, said)


_MRAD: Final = {"mrad": 1.0, "rad": 1e3}


def _with_unit(
    tags: Mapping[str, Any], quantity: str, names: tuple[str, ...], units: Mapping[str, float]
) -> Quantity:
    """A value of the group ``microscope``, which is used only where its unit stands beside it."""
    for name in names:
        path = f"microscope/{name}"
        unit = find(tags, f"{path}_units") or find(tags, f"{path}_unit")
        factor = units.get(text(unit).strip("[]").lower())
        if factor is not None:
            return look_up(tags, quantity, [Tag(path, factor)])
    return NOT_STATED
