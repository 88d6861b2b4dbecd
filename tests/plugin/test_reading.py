"""Nion Swift's own files as micrographs, written by Nion's own handlers."""

from __future__ import annotations

import datetime
import inspect
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem, HDF5Handler, ImportExportManager, NDataHandler

from stemctx_core.context import Known
from stemctx_core.errors import InputError
from stemctx_core.reading import read_images, read_micrograph
from tests.core.microscope_files import NION_METADATA, SAID

PIXELS = np.arange(48, dtype=np.float32).reshape(6, 8)


def _item(pixels: Any) -> DataItem.DataItem:
    pixel = Calibration.Calibration(0, 0.02, "nm")
    calibrations = [*([Calibration.Calibration()] * (pixels.ndim - 2)), pixel, pixel]
    data = DataAndMetadata.new_data_and_metadata(
        pixels, dimensional_calibrations=calibrations, metadata=NION_METADATA,
        data_descriptor=DataAndMetadata.DataDescriptor(pixels.ndim == 3, 0, 2),
    )  # fmt: skip
    return DataItem.new_data_item(data)


def _write_handled(handler: Any, pixels: Any) -> None:
    now = datetime.datetime(2026, 1, 1)
    item = _item(pixels)
    # From Nion Swift 16.18 on a handler is told what the axes are.
    described = "data_descriptor" in inspect.signature(handler.write_data).parameters
    axes = [DataAndMetadata.DataDescriptor(pixels.ndim == 3, 0, 2)] if described else []
    try:
        handler.write_data(pixels, *axes, now)
        handler.write_properties(item.write_to_dict(), now)
    finally:
        handler.close()
        item.close()


def _ndata(path: Path, pixels: Any) -> None:
    _write_handled(NDataHandler.NDataHandler(path), pixels)


def _h5(path: Path, pixels: Any) -> None:
    _write_handled(HDF5Handler.HDF5Handler(path), pixels)


def _ndata1(path: Path, pixels: Any) -> None:
    item = _item(pixels)
    element = ImportExportManager.create_data_element_from_data_item(item, include_data=False)
    item.close()
    np.save(path.with_suffix(".npy"), pixels)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps(element, default=str))
        file.write(path.with_suffix(".npy"), "data.npy")


def _nhdf(path: Path, pixels: Any) -> None:
    item = _item(pixels)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data/0", data=pixels)
        dataset.attrs["properties"] = json.dumps(item.write_to_dict())
    item.close()


KINDS: dict[str, Callable[[Path, Any], None]] = {"ndata": _ndata, "h5": _h5, "ndata1": _ndata1, "nhdf": _nhdf}
KIND = pytest.mark.parametrize("kind", KINDS)


@KIND
def test_an_image_comes_back_with_what_its_file_says_and_the_file_stays_as_it_was(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    KINDS[kind](path, PIXELS)
    before = path.read_bytes()
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.image, PIXELS)
    assert micrograph.name == "HAADF"
    for quantity in SAID.keys() - {"probe_current_pa"}:
        told = getattr(micrograph.said, quantity)
        assert isinstance(told, Known), (quantity, told)
        assert told.value == pytest.approx(SAID[quantity])
    assert path.read_bytes() == before


@KIND
def test_a_stack_is_read(tmp_path: Path, kind: str) -> None:
    stack = np.stack([PIXELS, PIXELS + 1])
    KINDS[kind](tmp_path / f"a.{kind}", stack)
    (image,) = read_images(tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(image.frames, stack)


@KIND
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    KINDS[kind](path, PIXELS)
    content = path.read_bytes()
    for share in (0.0, 0.3, 0.8):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=path.name):
            read_images(path)


@pytest.mark.parametrize("kind", ["ndata", "ndata1"])
def test_a_zip_that_is_not_what_it_says_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    for member, data in (
        ("data.npy", b"\x93NUMPY\x01\0" + (118).to_bytes(2, "little") + _header("(99999, 99999)")),
        ("data.npy", b"\x93NUMPY\x01\0" + (118).to_bytes(2, "little") + _header("(4, 4)", "'|O'")),
        ("other.npy", b""),
    ):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("metadata.json", "{}")
            file.writestr(member, data)
        with pytest.raises(InputError):
            read_images(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("data.npy", bytes(1 << 20))
    with pytest.raises(InputError, match="compressed"):
        read_images(path)


def _header(shape: str, kind: str = "'<f4'") -> bytes:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"


def test_another_programs_hdf5_is_named_as_such(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = PIXELS
    with pytest.raises(InputError, match="not one of Nion Swift's files"):
        read_images(tmp_path / "a.h5")
