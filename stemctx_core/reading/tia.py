"""FEI's TIA, ``.ser``, read by RosettaSciIO; energy and dwell time from the ``.emi`` beside it.

`SERIES_1.ser` belongs to the first object of `SERIES.emi`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from stemctx_core.errors import InputError
from stemctx_core.reading.images import MOST_PIXELS, FoundImage, refuse_shape
from stemctx_core.reading.rosetta import pixel_size_of_axes
from stemctx_core.reading.values import FileValues, Tag, look_up

_LITTLE_ENDIAN, _SERIES = 0x4949, 0x0197
_IMAGES: Final = 0x4122
_BYTES: Final = {1: 1, 2: 2, 3: 4, 4: 1, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 16}
#: From this version on, places in the file take eight bytes.
_WIDE_FROM: Final = 0x0220
_MOST_DIMENSIONS: Final = 4
_MOST_TEXT: Final = 4096
_MOST_EMI_BYTES: Final = 1 << 28
_OBJECT: Final = re.compile(rb"<ObjectInfo>.*?</ObjectInfo>", re.DOTALL)


def read(path: Path) -> list[FoundImage]:
    """The image or stack of a ``.ser`` file."""
    from rsciio.tia import file_reader

    _check(path)
    (one,) = file_reader(str(path))
    tags = _experiment(path)
    said = FileValues(
        high_tension_kv=look_up(tags, "high_tension_kv", [Tag("High tension")]),
        pixel_size_angstrom=pixel_size_of_axes(one["axes"]),
        dwell_us=look_up(tags, "dwell_us", [Tag("DwellTimePath", 1e6)]),
    )
    return [FoundImage(one["data"], said=said)]


def _check(path: Path) -> None:
    """See that the header tells of images that are in the file; raise `InputError` where it does not.

    The layout is that of C. Boothroyd's description of the format, which RosettaSciIO follows too.
    """
    size = path.stat().st_size
    with path.open("rb") as file:

        def take(kinds: str, at: int | None = None) -> tuple[int, ...]:
            if at is not None:
                file.seek(at)
            length = struct.calcsize("<" + kinds)
            content = file.read(length)
            if len(content) < length:
                raise InputError(f"{path} ends too early. Is it a whole .ser file?")
            return struct.unpack("<" + kinds, content)

        order, series, version, kind, _, _, count = take("HHHIIII", 0)
        if (order, series) != (_LITTLE_ENDIAN, _SERIES):
            raise InputError(f"{path} cannot be read: it does not begin as a .ser file does.")
        if kind != _IMAGES:
            raise InputError(f"{path} holds spectra, not images. Name another file.")
        place = "Q" if version >= _WIDE_FROM else "I"
        offsets, dimensions = take(place + "I")
        if dimensions > _MOST_DIMENSIONS or not 0 < count <= MOST_PIXELS:
            raise InputError(
                f"{path} says that it holds {count} images in {dimensions} dimensions. Is it damaged?"
            )
        for _ in range(dimensions):
            take("IddI")
            for _ in range(2):
                (length,) = take("I")
                if length > _MOST_TEXT:
                    raise InputError(
                        f"{path} holds a text of {length} characters in its header. Is it damaged?"
                    )
                file.seek(length, 1)
        (first,) = take(place, offsets)
        kind_of_value, width, height = take("HII", first + 40)
        if count * width * height > MOST_PIXELS:
            refuse_shape((count, height, width), path)
        # Behind the places of the images stand those of their tags, as many; a reader takes the first of them too.
        needed = count * width * height * _BYTES.get(kind_of_value, size + 1)
        if needed > size or offsets + 2 * count * struct.calcsize(place) > size:
            raise InputError(f"{path} ends too early: its images take {needed} bytes. Is it a whole .ser file?")


def _experiment(path: Path) -> Mapping[str, Any]:
    """What the ``.emi`` beside the file says of its object, label to value; empty where there is none."""
    stem, _, index = path.stem.rpartition("_")
    beside = path.with_name(f"{stem}.emi")
    if not (index.isdigit() and beside.is_file() and beside.stat().st_size <= _MOST_EMI_BYTES):
        return {}
    objects = _OBJECT.findall(beside.read_bytes())
    if not 1 <= int(index) <= len(objects):
        return {}
    try:
        tree = ElementTree.fromstring(objects[int(index) - 1])
    except ElementTree.ParseError:
        return {}
    told: dict[str, Any] = {e.tag: e.text for e in tree.iter() if e.tag == "DwellTimePath"}
    for data in tree.iter("Data"):
        label, value, unit = (data.findtext(part) or "" for part in ("Label", "Value", "Unit"))
        if label == "High tension" and unit != "kV":
            continue
        told[label] = value
    return told
