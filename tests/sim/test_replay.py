"""Files in the place of the specimen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from realtime.recording.recordings import FORMAT, FrameHeader, RecordedFrame, SessionHeader, begin, write_frame
from realtime.storage.record_file import RecordFile
from sim.geometry import ScanArea
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.replay import open_replay
from sim.shot import shot
from stemctx_core.context import ImagingContext, Known, Missing, Source
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity

STILL = MicroscopeSettings(
    size=(96, 96), fov_nm=4.8, dwell_us=2.0, probe_current_pa=1000.0, drift_nm_per_s=(0.0, 0.0)
)


@pytest.fixture
def micrograph(tmp_path: Path) -> tuple[Path, np.ndarray]:
    pixels = np.random.default_rng(1).integers(100, 4000, (96, 96)).astype(np.uint16)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, resolution=(2e8, 2e8), resolutionunit="CENTIMETER")  # 0.5 Å
    return path, pixels


def recording(path: Path, pixel: Known | Missing) -> list[np.ndarray]:
    """A recording of three frames, of which the second is only begun; gives their images."""
    known = Known(80.0, Source.INSTRUMENT)
    context = ImagingContext(
        "WSe2", ("V",), Known(60.0, Source.FRAME), known, Known(65.0, Source.USER), Known(180.0, Source.USER),
        pixel_size_angstrom=pixel, channel="MAADF",
    )  # fmt: skip
    images = [np.random.default_rng(n).random((96, 96)).astype(np.float32) for n in range(3)]
    file = RecordFile(path, writable=True, kind=FORMAT)
    begin(file, SessionHeader("2026-01-01T00:00:00Z", {}))
    for n, image in enumerate(images, 1):
        rows = 96 if n != 2 else 40
        frame = FrameIdentity(f"scan {n}", n, rows, (96, 96))
        header = FrameHeader(n, "2026-01-01T00:00:00Z", 0.0, 1.0, frame, context)
        write_frame(file, RecordedFrame(header, image[:rows], None))
    file.commit()
    file.close()
    return images


def test_a_micrograph_on_its_own_pixels_is_the_file(micrograph: tuple[Path, np.ndarray]) -> None:
    path, pixels = micrograph
    replay = open_replay(path)
    assert replay.count == 1
    image = replay.image(1)
    assert image.pixel_size_nm == pytest.approx(0.05)
    np.testing.assert_array_equal(image.seen(ScanArea((96, 96), 4.8).geometry()), pixels)
    # Half the field, on the same pixels, is the middle of it; beside the file it is dark.
    np.testing.assert_array_equal(image.seen(ScanArea((48, 48), 2.4).geometry()), pixels[24:72, 24:72])
    wide = image.seen(ScanArea((192, 192), 9.6).geometry())
    np.testing.assert_array_equal(wide[48:144, 48:144], pixels)
    assert (wide[:40] == pixels.min()).all()
    # A quarter of a turn is a turned file, and half the pixels on the same field are a coarser one.
    turned = image.seen(ScanArea((96, 96), 4.8, rotation_rad=np.pi / 2).geometry())
    np.testing.assert_array_equal(
        turned, np.rot90(pixels, 1) if turned[0, 0] == pixels[0, -1] else np.rot90(pixels, -1)
    )
    assert open_replay(path, 0.25).image(1).pixel_size_nm == pytest.approx(0.025)


def test_a_recording_is_shown_frame_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    images = recording(path, Known(0.5, Source.FRAME))
    replay = open_replay(path)
    try:
        assert replay.count == 2, "a part of a frame is passed over"
        assert replay.context is not None
        assert replay.context.channel == "MAADF"
        whole = ScanArea((96, 96), 4.8).geometry()
        for frame_number, image in ((1, images[0]), (2, images[2]), (3, images[0])):
            np.testing.assert_allclose(replay.image(frame_number).seen(whole), image, atol=1e-6)
    finally:
        replay.close()


def test_what_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((8, 8), np.float32))
    with pytest.raises(InputError, match="how large its pixels are"):
        open_replay(tmp_path / "image.npy")
    with pytest.raises(InputError, match="Pixels of 500"):
        open_replay(tmp_path / "image.npy", 500.0)
    with pytest.raises(InputError, match="no file"):
        open_replay(tmp_path / "missing.tif")
    recording(tmp_path / "sizeless.h5", Missing("no calibration"))
    with pytest.raises(InputError, match="without a pixel size"):
        open_replay(tmp_path / "sizeless.h5")
    replay = open_replay(tmp_path / "sizeless.h5", 0.5)
    assert replay.image(1).pixel_size_nm == pytest.approx(0.05)
    replay.close()
    (tmp_path / "no.h5").write_bytes(b"nothing")
    with pytest.raises(InputError):
        open_replay(tmp_path / "no.h5")


def test_the_scan_shows_the_files_pixels_and_has_no_truth(micrograph: tuple[Path, np.ndarray]) -> None:
    path, pixels = micrograph
    with HeadlessMicroscope(STILL) as microscope:
        sample = microscope.stem_controller.sample
        sample.put_in(open_replay(path))
        haadf, maadf = microscope.record(enabled_channel_indexes=[0, 1])
        np.testing.assert_array_equal(haadf.data, pixels)
        np.testing.assert_array_equal(maadf.data, pixels)
        assert shot(haadf.metadata).replayed == "image.tif"
        with pytest.raises(InputError, match=r"What stands in image\.tif is not known"):
            microscope.ground_truth(haadf.metadata)
        sample.renew()
        crystal = microscope.record()[0]
        assert shot(crystal.metadata).replayed == ""
        assert len(microscope.ground_truth(crystal.metadata)) > 100
