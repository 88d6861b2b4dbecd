"""The wire format of protocol buffers, as far as a reader needs it that knows the numbers of its fields.

Source: the encoding page of the protocol-buffer documentation. Anything that two readers could take differently (a
number of more than 32 bits for a field, groups) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def message(value: int | memoryview) -> memoryview:
    """The content of a field that is a message.

    Raises
    ------
    ValueError
        Where it is a number.
    """
    if isinstance(value, int):
        raise ValueError("a message is a number")
    return value


def text(value: int | memoryview | bytes) -> str:
    """The content of a field that is a text.

    Raises
    ------
    ValueError
        Where it is a number, or not UTF-8.
    """
    if isinstance(value, int):
        raise ValueError("a text is a number")
    return bytes(value).decode()


def fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message.

    Raises
    ------
    ValueError, IndexError
        Where it is cut, or not a message.
    """
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        if key >= 1 << 32:
            raise ValueError("a field's number is too large")
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(content, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, at = _varint(content, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if at + length > len(content):
            raise ValueError("it is cut")
        yield key >> 3, content[at : at + length]
        at += length


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
