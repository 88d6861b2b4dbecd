"""Files of microscopes: what they hold, what they say, and what a damaged or a hostile one does."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from stemctx_core.context import Known, Missing, Source
from stemctx_core.errors import InputError
from stemctx_core.reading import hdf5, read_images, read_micrograph, readable_suffixes
from tests.core import microscope_files as files

pytest.importorskip("rsciio")
pytest.importorskip("nionswift_plugin.DM_IO")

PIXELS = np.arange(48, dtype=np.float32).reshape(6, 8)
STACK = np.arange(3 * 48, dtype=np.float32).reshape(3, 6, 8)

Write = Callable[[Path, Any], None]


def _ser(path: Path, pixels: Any) -> None:
    stack = pixels if pixels.ndim == 3 else pixels[None]
    files.write_ser(path, stack.astype(np.uint16))


KINDS: dict[str, tuple[str, Write, set[str]]] = {
    "dm3": ("a.dm3", files.write_dm, {"inner_mrad", "outer_mrad"}),
    "dm4": ("a.dm4", files.write_dm, {"inner_mrad", "outer_mrad"}),
    "Velox": ("a.emd", lambda path, pixels: files.write_velox(path, {"HAADF": pixels}), set()),
    "NCEM": ("a.emd", files.write_ncem, set()),
    "TIA": (
        "a_1.ser",
        _ser,
        {"convergence_semi_angle_mrad", "inner_mrad", "outer_mrad", "probe_current_pa"},
    ),
}
KIND = pytest.mark.parametrize(("name", "write", "unsaid"), KINDS.values(), ids=KINDS)


@KIND
def test_an_image_comes_back_with_what_its_file_says(
    tmp_path: Path, name: str, write: Write, unsaid: set[str]
) -> None:
    write(tmp_path / name, PIXELS)
    micrograph = read_micrograph(tmp_path / name)
    np.testing.assert_array_equal(micrograph.image, PIXELS)
    assert micrograph.image.dtype.isnative
    for quantity, value in files.SAID.items():
        told = getattr(micrograph.said, quantity)
        if quantity in unsaid:
            assert isinstance(told, Missing), quantity
            continue
        assert isinstance(told, Known), (quantity, told)
        assert told.value == pytest.approx(value, rel=1e-6), quantity
        assert told.source is Source.FILE
        assert told.detail


@KIND
def test_a_stack_comes_back_frame_by_frame(tmp_path: Path, name: str, write: Write, unsaid: set[str]) -> None:
    write(tmp_path / name, STACK)
    (image,) = read_images(tmp_path / name)
    np.testing.assert_array_equal(image.frames, STACK)
    assert isinstance(image.said.pixel_size_angstrom, Known)
    np.testing.assert_array_equal(read_micrograph(tmp_path / name, frame=1).image, STACK[1])
    with pytest.raises(InputError, match="3 × 6 × 8, not one two-dimensional"):
        read_micrograph(tmp_path / name)
    with pytest.raises(InputError, match="there is no frame 3"):
        read_micrograph(tmp_path / name, frame=3)


@KIND
def test_a_file_cut_off_anywhere_is_refused_or_read_whole(
    tmp_path: Path, name: str, write: Write, unsaid: set[str]
) -> None:
    path = tmp_path / name
    write(path, PIXELS)
    content = path.read_bytes()
    for share in (0.0, 0.3, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        try:
            image = read_micrograph(path).image
        except InputError as error:
            words = str(error)
            assert name in words
        else:
            np.testing.assert_array_equal(image, PIXELS)
            assert share > 0.5


@KIND
def test_damaged_bytes_are_refused_or_read_and_nothing_else(
    tmp_path: Path, name: str, write: Write, unsaid: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_LONGEST_S", 10.0)
    path = tmp_path / name
    write(path, PIXELS)
    content = path.read_bytes()
    rng = np.random.default_rng(4)
    # Each HDF5 file is walked by a process of its own, which takes time to start.
    for _ in range(3 if path.suffix == ".emd" else 60):
        spoiled = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            spoiled[position] = rng.integers(0, 256)
        path.write_bytes(spoiled)
        try:
            images = read_images(path)
        except InputError as error:
            words = str(error)
            assert str(path) in words
        else:
            assert all(i.frames.ndim == 3 for i in images)


def test_every_kind_is_named_when_a_file_is_of_none(tmp_path: Path) -> None:
    for suffix in (".dm3", ".dm4", ".emd", ".tif", ".ser", ".npy"):
        assert suffix in readable_suffixes()
    (tmp_path / "a.hspy").touch()
    with pytest.raises(InputError, match=re.escape(".dm4")):
        read_images(tmp_path / "a.hspy")


def test_each_detector_of_velox_is_an_image_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "scan.emd"
    files.write_velox(path, {"HAADF": PIXELS, "DF4": PIXELS + 1})
    assert [i.name for i in read_images(path)] == ["HAADF", "DF4"]
    np.testing.assert_array_equal(read_micrograph(path, channel="df4").image, PIXELS + 1)
    with pytest.raises(InputError, match="HAADF, DF4"):
        read_micrograph(path)
    with pytest.raises(InputError, match="no image named BF"):
        read_micrograph(path, channel="BF")


def test_what_nion_swift_exports_to_digital_micrograph_keeps_its_angles(tmp_path: Path) -> None:
    files.write_dm(tmp_path / "a.dm4", PIXELS, files.NION_METADATA)
    micrograph = read_micrograph(tmp_path / "a.dm4")
    assert micrograph.name == "HAADF"
    for quantity in files.SAID.keys() - {"probe_current_pa"}:
        told = getattr(micrograph.said, quantity)
        assert isinstance(told, Known), quantity
        assert told.value == pytest.approx(files.SAID[quantity])


@pytest.mark.parametrize(
    ("voltage", "words"),
    [(0.0, "does not state it"), (60.0, "cannot be it"), (float("nan"), "does not state it")],
)
def test_a_tag_that_nobody_filled_in_is_not_believed(tmp_path: Path, voltage: float, words: str) -> None:
    files.write_dm(tmp_path / "a.dm3", PIXELS, {"Microscope Info": {"Voltage": voltage}})
    told = read_micrograph(tmp_path / "a.dm3").said.high_tension_kv
    assert isinstance(told, Missing)
    assert words in told.reason


def test_a_value_without_a_unit_is_not_used(tmp_path: Path) -> None:
    files.write_ncem(tmp_path / "a.emd", PIXELS, voltage_units="")
    assert isinstance(read_micrograph(tmp_path / "a.emd").said.high_tension_kv, Missing)


def test_a_ser_file_is_read_without_its_emi(tmp_path: Path) -> None:
    files.write_ser(tmp_path / "a_1.ser", STACK.astype(np.uint16), emi=False)
    (image,) = read_images(tmp_path / "a_1.ser")
    assert isinstance(image.said.high_tension_kv, Missing)
    (tmp_path / "a.emi").write_bytes(b"<ObjectInfo><not closed></ObjectInfo>")
    assert isinstance(read_images(tmp_path / "a_1.ser")[0].said.high_tension_kv, Missing)


def test_the_channels_of_an_imagej_file_are_images(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:2], imagej=True, metadata={"axes": "CYX"})
    first, second = read_images(path)
    assert (first.name, second.name) == ("channel 1", "channel 2")
    np.testing.assert_array_equal(second.frames[0], STACK[1])


def test_stacks_of_tiff_and_numpy_are_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    np.save(tmp_path / "a.npy", STACK)
    for name in ("a.tif", "a.npy"):
        (image,) = read_images(tmp_path / name)
        np.testing.assert_array_equal(image.frames, STACK)


# Hostile files: what they claim is compared with what a micrograph may be before memory is taken.


def test_a_dm_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.dm3"
    files.write_dm(path, PIXELS)
    content = path.read_bytes()
    # Dimensions are stored little-endian; both become 2³¹ − 1 and 8, then 60,000 each.
    for height, width in ((2**31 - 1, 8), (60_000, 60_000), (6000, 8000)):
        spoiled = content.replace(struct.pack("<I", 6), struct.pack("<I", height))
        path.write_bytes(spoiled.replace(struct.pack("<I", 8), struct.pack("<I", width)))
        with pytest.raises(InputError):
            read_images(path)


def test_a_ser_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a_1.ser"
    files.write_ser(path, STACK.astype(np.uint16))
    content = path.read_bytes()
    for old, new in (
        (struct.pack("<II", 8, 6), struct.pack("<II", 2**31, 2**31)),
        (struct.pack("<II", 8, 6), struct.pack("<II", 16_000, 5000)),
        (struct.pack("<II", 3, 3), struct.pack("<II", 2**32 - 1, 2**32 - 1)),
        (struct.pack("<I", 6) + b"Number", struct.pack("<I", 2**32 - 1) + b"Number"),
        (struct.pack("<H", 0x4949), b"\0\0"),
        (struct.pack("<I", 0x4122), struct.pack("<I", 0x4120)),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(InputError):
            read_images(path)


@pytest.mark.parametrize("velox", [True, False], ids=["Velox", "NCEM"])
def test_an_emd_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path, velox: bool) -> None:
    path = tmp_path / "a.emd"
    if velox:
        files.write_velox(path, {"HAADF": PIXELS})
        image, other = "Data/Image/00000000000000000000000000000000/Data", "Data/Image/x/Metadata"
        shape: tuple[int, ...] = (30_000, 30_000, 8)
    else:
        files.write_ncem(path, PIXELS)
        image, other, shape = "signals/image/data", "signals/image/more", (30_000, 30_000)
    content = path.read_bytes()
    with h5py.File(path, "a") as file:
        del file[image]
        file.create_dataset(image, shape=shape, dtype="f4", chunks=(100, *shape[1:]))
    with pytest.raises(InputError, match=r"30000 × 30000|which are not there"):
        read_images(path)
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        file.create_dataset(other, shape=(1 << 40,), dtype="u1", chunks=(1 << 20,))
    with pytest.raises(InputError, match="which are not there"):
        read_images(path)


def test_an_emd_file_never_reaches_into_another_file(tmp_path: Path) -> None:
    files.write_ncem(tmp_path / "secret.emd", PIXELS)
    path = tmp_path / "a.emd"
    files.write_ncem(path, PIXELS)
    with h5py.File(path, "a") as file:
        del file["signals"]
        file["signals"] = h5py.ExternalLink("secret.emd", "/signals")
    with pytest.raises(InputError, match="another file"):
        read_images(path)
    files.write_ncem(path, PIXELS)
    with h5py.File(path, "a") as file:
        del file["signals/image/data"]
        layout = h5py.VirtualLayout(shape=(8, 6), dtype="f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.emd"), "signals/image/data", shape=(8, 6))
        file.create_virtual_dataset("signals/image/data", layout)
    with pytest.raises(InputError, match="other files"):
        read_images(path)


@pytest.mark.parametrize("values", [PIXELS.astype(complex), PIXELS.astype("S4")], ids=["complex", "text"])
def test_an_emd_image_of_anything_but_real_numbers_is_refused(tmp_path: Path, values: Any) -> None:
    files.write_ncem(tmp_path / "a.emd", values)
    with pytest.raises(InputError, match="holds no image"):
        read_images(tmp_path / "a.emd")
