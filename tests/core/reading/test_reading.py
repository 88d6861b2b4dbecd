"""Micrographs from files, good and bad."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from stemctx_core.context import Known, Missing, Source
from stemctx_core.errors import InputError
from stemctx_core.reading import read_micrograph

PIXELS = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8", ">f4", ">u2"])
@pytest.mark.parametrize("kind", [".npy", ".tif", ".TIFF"])
def test_an_image_comes_back_with_its_values(tmp_path: Path, kind: str, dtype: str) -> None:
    path = tmp_path / f"frame{kind}"
    if kind == ".npy":
        np.save(path, PIXELS.astype(dtype))
    else:
        tifffile.imwrite(path, PIXELS.astype(dtype), byteorder=">" if dtype.startswith(">") else "<")
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.image, PIXELS)
    assert micrograph.image.dtype.isnative
    assert isinstance(micrograph.pixel_size_angstrom, Missing)


@pytest.mark.parametrize(
    ("unit", "per_unit", "angstrom"),
    [
        ("nm", 40.0, 0.25),
        ("Å", 4.0, 0.25),
        ("micron", 4e4, 0.25),
        ("um", 50_000, 0.2),
        ("pm", 0.04, 25.0 * 0.01),
    ],
)
def test_imagej_states_its_pixel_size(tmp_path: Path, unit: str, per_unit: float, angstrom: float) -> None:
    path = tmp_path / "frame.tif"
    escaped = unit.encode("ascii", "backslashreplace").decode().replace("\\xc5", "\\u00C5")
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=(per_unit, per_unit), metadata={"unit": escaped})
    pixel = read_micrograph(path).pixel_size_angstrom
    if unit == "Å" and isinstance(pixel, Missing):
        pytest.fail(pixel.reason)
    assert isinstance(pixel, Known)
    assert pixel.value == pytest.approx(angstrom, rel=1e-4)
    assert pixel.source is Source.FILE


def test_a_tiff_resolution_in_centimetres_is_read(tmp_path: Path) -> None:
    path = tmp_path / "frame.tif"
    tifffile.imwrite(path, PIXELS, resolution=(4e8, 4e8), resolutionunit="CENTIMETER")
    pixel = read_micrograph(path).pixel_size_angstrom
    assert isinstance(pixel, Known)
    assert pixel.value == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "resolution"),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, "not one of an atomic image"),
        ({"resolution": (40, 20), "imagej": True, "metadata": {"unit": "nm"}}, "not square"),
        ({"resolution": (40, 40), "imagej": True, "metadata": {"unit": "furlong"}}, "furlong"),
        ({"resolution": (4, 4), "resolutionunit": "NONE"}, "without a unit"),
        ({"resolution": (0, 0), "imagej": True, "metadata": {"unit": "nm"}}, "not a positive number"),
    ],
    ids=["none", "of a print", "not square", "unknown unit", "no unit", "zero"],
)
def test_a_pixel_size_that_cannot_be_is_missing_with_the_reason(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "frame.tif"
    tifffile.imwrite(path, PIXELS, **options)
    pixel = read_micrograph(path).pixel_size_angstrom
    assert isinstance(pixel, Missing)
    assert reason in pixel.reason


def test_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "frame.tif"
    tifffile.imwrite(path, PIXELS[None, :, :, None], photometric="minisblack")
    np.testing.assert_array_equal(read_micrograph(path).image, PIXELS)


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8, 3), (2, 3, 8, 8)])
def test_a_stack_or_a_colour_image_is_refused_with_its_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    spoken = " × ".join(map(str, shape))
    for path in (tmp_path / "frame.tif", tmp_path / "frame.npy"):
        if path.suffix == ".tif":
            tifffile.imwrite(
                path, np.zeros(shape, np.uint8), photometric="rgb" if shape[-1] == 3 else "minisblack"
            )
        else:
            np.save(path, np.zeros(shape, np.uint8))
        with pytest.raises(InputError, match=f"{spoken}, not one two-dimensional image"):
            read_micrograph(path)


@pytest.mark.parametrize(
    "bad", [np.zeros(5), np.zeros((0, 5)), np.zeros((2, 2), complex), np.array([["a"]])], ids=str
)
def test_an_array_that_is_no_image_is_refused(tmp_path: Path, bad: Any) -> None:
    np.save(tmp_path / "frame.npy", bad)
    with pytest.raises(InputError):
        read_micrograph(tmp_path / "frame.npy")


def test_an_array_of_objects_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "frame.npy", np.array([[{}]], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_micrograph(tmp_path / "frame.npy")


def test_a_header_that_lies_about_the_size_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "frame.npy"
    np.save(path, np.zeros((100, 100), np.float32))
    path.write_bytes(path.read_bytes().replace(b"(100, 100)", b"(9**9,99)", 1))
    with pytest.raises(InputError):
        read_micrograph(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("frame.jpg", b"", "Export it as .tif"),
        ("frame.dm3", b"", "cannot be read"),
        ("frame.dm4", b"", "cannot be read"),
        ("frame.emd", b"", "cannot be read"),
        ("frame.ser", b"", "ends too early"),
        ("frame", b"", "Export it as .tif"),
        ("frame.tif", b"", "cannot be read"),
        ("frame.tif", b"not a tiff", "cannot be read"),
        ("frame.tif", b"II*\0\x08\0\0\0", "cannot be read|holds no image"),
        ("frame.npy", b"\x93NUMPY\x01", "cannot be read"),
        ("frame.npy", b"PK\x03\x04", "cannot be read"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_with_the_fix(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_micrograph(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_micrograph(tmp_path / "absent.tif")
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(InputError):
        read_micrograph(tmp_path / "folder.tif")


def test_a_truncated_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frame.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.float32))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError):
        read_micrograph(path)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_damaged_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "frame.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.float32))
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert read_micrograph(path).image.ndim == 2
