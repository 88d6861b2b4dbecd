"""The journal beside a `realtime.storage.durable.DurableFile`: the changes of one commit, whole or worth nothing."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

ID_BYTES: Final = 16
_MARK: Final = b"stemctx journal\n"
_HEAD: Final = struct.Struct(f"<{len(_MARK)}s{ID_BYTES}sQQ?")
_ENTRY: Final = struct.Struct("<QQ")
_SUM: Final = struct.Struct("<I")
#: A commit changes kilobytes of old bytes; what is longer is not ours.
_MAX_BYTES: Final = 256 * 1024 * 1024

#: Offset and bytes, in the order in which they are written.
Writes = list[tuple[int, bytes]]


class Journal(NamedTuple):
    """What a commit changes.

    Attributes
    ----------
    owner
        Identity of the file.
    size
        Of the file after the commit.
    first
        Whether it is the first commit of the file, which then holds one write: the whole file.
    writes
        Changes of bytes that were there before.
    """

    owner: bytes
    size: int
    first: bool
    writes: Writes


def packed(journal: Journal) -> bytes:
    """Lay a journal out as bytes."""
    parts = [_HEAD.pack(_MARK, journal.owner, journal.size, len(journal.writes), journal.first)]
    for offset, data in journal.writes:
        parts += [_ENTRY.pack(offset, len(data)), data]
    whole = b"".join(parts)
    return whole + _SUM.pack(zlib.crc32(whole))


def read_journal(path: Path) -> Journal | None:
    """Read a journal; None where it is not whole."""
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if not _HEAD.size + _SUM.size <= len(data) <= _MAX_BYTES:
        return None
    whole = data[: -_SUM.size]
    if _SUM.unpack(data[-_SUM.size :]) != (zlib.crc32(whole),):
        return None
    mark, owner, size, count, first = _HEAD.unpack_from(whole)
    position, writes = _HEAD.size, []
    for _ in range(min(count, len(whole))):
        if position + _ENTRY.size > len(whole):
            return None
        offset, length = _ENTRY.unpack_from(whole, position)
        position += _ENTRY.size
        writes.append((offset, whole[position : position + length]))
        position += length
        if len(writes[-1][1]) != length or offset + length > size:
            return None
    usable = mark == _MARK and position == len(whole) and len(writes) == count
    return Journal(owner, size, first, writes) if usable and (writes or not first) else None


def cut(writes: Writes, size: int) -> Writes:
    """What of some writes lies within a file of a size."""
    return [(offset, data[: size - offset]) for offset, data in writes if offset < size]


def split(writes: Writes, end: int) -> tuple[Writes, Writes]:
    """Writes behind the end of the committed file, and those within it."""
    behind = [
        (max(offset, end), data[max(0, end - offset) :]) for offset, data in writes if offset + len(data) > end
    ]
    within = [(offset, data[: max(0, end - offset)]) for offset, data in writes if offset < end]
    return behind, within


def image_of(writes: Writes, size: int) -> bytes:
    """The whole file that writes make where there was none."""
    image = bytearray(size)
    for offset, data in writes:
        image[offset : offset + len(data)] = data
    return bytes(image[:size])
