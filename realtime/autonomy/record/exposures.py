"""How an exposure lies in a record: a text, an image for each channel, and the result."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from realtime.storage.packed import Packed, put_packed, recordable, say_axes
from realtime.storage.record_file import get_array, get_group, get_text
from realtime.storage.results import packed_result
from realtime.storage.text import from_text, to_text
from stemctx_core.context import ImagingContext
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity, FrameResult

EXPOSURES: Final = "exposures"
_IMAGES: Final = "images"
_MAX_CHANNELS: Final = 32


class _FrameText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    channels: tuple[str, ...]
    contexts: dict[str, ImagingContext]
    frame: FrameIdentity
    request: ScanRequest
    started_ns: int
    ended_ns: int


def packed_exposure(frame: ScannedFrame, result: FrameResult) -> Packed:
    """Take frame and result apart: path in the exposure's group to text or array.

    Raises
    ------
    InputError
        Where an image is not of real numbers in rows and columns.
    """
    channels = tuple(frame.images)
    if not 0 < len(channels) <= _MAX_CHANNELS:
        raise InputError(
            f"A frame of {len(channels)} channels cannot be recorded. Record 1 to {_MAX_CHANNELS}."
        )
    told = _FrameText(channels, frame.contexts, frame.frame, frame.request, frame.started_ns, frame.ended_ns)
    packed: Packed = {"frame": to_text(told)}
    for index, channel in enumerate(channels):
        packed[f"{_IMAGES}/{_image_name(index, channel)}"] = recordable(frame.images[channel])
    return packed | packed_result(result)


def write_exposure(group: Any, packed: Packed, pixel_nm: float) -> None:
    """Put what `packed_exposure` gave into a group."""
    put_packed(group, packed)
    for image in group[_IMAGES].values():
        say_axes(image)
        image.attrs["pixel_size_nm"] = pixel_nm


def read_frame(group: Any) -> ScannedFrame:
    """Put together the frame that `packed_exposure` took apart; raise ValueError where it does not fit."""
    told = from_text(get_text(group, "frame"), _FrameText)
    if not 0 < len(told.channels) <= _MAX_CHANNELS or len(set(told.channels)) != len(told.channels):
        raise ValueError(f"{len(told.channels)} channels")
    stored = get_group(group, _IMAGES)
    images = {c: get_array(stored, _image_name(i, c), rank=2) for i, c in enumerate(told.channels)}
    return ScannedFrame(images, told.contexts, told.frame, told.request, told.started_ns, told.ended_ns)


def _image_name(index: int, channel: str) -> str:
    return f"{index}_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in channel)[:64]
