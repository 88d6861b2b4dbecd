"""Nion Swift's own files as micrographs: ``.ndata`` and ``.h5`` of a library, ``.ndata1`` and ``.nhdf`` as exported.

Joined to `stemctx_core.reading` by the entry-point group ``stemctx.readers``. The zipped kinds are read by Nion's own
handlers, once their members were seen to be what they say. The HDF5 kinds are read here, by Nion's layout: its handler
opens every file for writing, which a file that is only looked at must not be.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from stemctx_core.errors import InputError
from stemctx_core.reading import nion_tags
from stemctx_core.reading.hdf5 import check_hdf5
from stemctx_core.reading.images import FoundImage, stack_shape

_DATA, _METADATA = "data.npy", "metadata.json"
_MOST_METADATA_BYTES: Final = 1 << 26


def read_ndata(path: Path) -> list[FoundImage]:
    """The data item of an ``.ndata`` file."""
    from nion.swift.model.NDataHandler import NDataHandler

    _check_zip(path)
    handler = NDataHandler(path)
    try:
        return [_found(handler.read_data(), handler.read_properties(), path)]
    finally:
        handler.close()


def read_ndata1(path: Path) -> list[FoundImage]:
    """The data item of an exported ``.ndata1`` file."""
    from nion.swift.model.ImportExportManager import NDataImportExportHandler

    _check_zip(path)
    handler = NDataImportExportHandler("ndata1-io-handler", "NData 1", ["ndata1"])
    return [
        _found(element.pop("data"), element, path) for element in handler.read_data_elements("ndata1", path)
    ]


def read_hdf5(path: Path) -> list[FoundImage]:
    """The data item of an ``.h5`` file, or all of an exported ``.nhdf``."""
    check_hdf5(path)
    with h5py.File(path, "r") as file:
        data = file.get("data")
        if isinstance(data, h5py.Dataset):
            datasets = [data]
        elif isinstance(data, h5py.Group):
            datasets = [d for d in data.values() if isinstance(d, h5py.Dataset)]
        else:
            datasets = []
        datasets = [d for d in datasets if "properties" in d.attrs]
        if not datasets:
            raise InputError(f"{path} is not one of Nion Swift's files. Export the image as .tif.")
        return [_found(_read(d, path), json.loads(d.attrs["properties"]), path) for d in datasets]


def _read(dataset: h5py.Dataset, path: Path) -> Any:
    stack_shape(dataset.shape, dataset.dtype, path)
    return dataset[()]


def _found(values: Any, properties: Mapping[str, Any], path: Path) -> FoundImage:
    if values is None or not nion_tags.is_image(properties):
        raise InputError(f"{path} holds no image. Name another file.")
    said, name = nion_tags.said(properties)
    return FoundImage(values, name, said)


def _check_zip(path: Path) -> None:
    """See that the members are those of Nion's files, stored as they are, and of a size that is there."""
    with zipfile.ZipFile(path) as file:
        members = {m.filename: m for m in file.infolist()}
        if set(members) != {_DATA, _METADATA}:
            raise InputError(f"{path} is not one of Nion Swift's files. Export the image as .tif.")
        size = path.stat().st_size
        if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > size for m in members.values()):
            raise InputError(f"{path} is compressed, or says that it holds more than it does. Is it damaged?")
        if members[_METADATA].file_size > _MOST_METADATA_BYTES:
            raise InputError(f"{path} holds more metadata than are read. Is it damaged?")
        with file.open(_DATA) as data:
            version = np.lib.format.read_magic(data)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(data)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(data)
        stack_shape(shape, dtype, path)
