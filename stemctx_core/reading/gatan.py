"""Gatan DigitalMicrograph, ``.dm3`` and ``.dm4``, read by RosettaSciIO.

The tags have no place for the angles of an annular detector. Files that Nion Swift exports carry Nion's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from stemctx_core.context import Known, Quantity
from stemctx_core.reading import nion_tags
from stemctx_core.reading.images import FoundImage
from stemctx_core.reading.rosetta import pixel_size_of_axes, taken, text
from stemctx_core.reading.values import FileValues, Tag, find, look_up, number

_IMAGE_TAGS: Final = "ImageList/TagGroup0/ImageTags"
_VOLTAGE: Final = (
    Tag("Microscope Info/Voltage", 1e-3),
    Tag("ImageScanned/EHT", 1e-3),
)
_CONVERGENCE: Final = (
    Tag("EELS/Experimental Conditions/Convergence semi-angle (mrad)"),
    Tag("EELS/Convergence semi-angle (mrad)"),
    Tag("Microscope Info/Convergence semi-angle (mrad)"),
)
_CURRENT: Final = (Tag("Microscope Info/Probe Current (nA)", 1e3),)
_SAMPLE_TIME: Final = (Tag("DigiScan/Sample Time"),)


def read(path: Path) -> list[FoundImage]:
    """Images of a DigitalMicrograph file; its thumbnail is not one."""
    from rsciio.digitalmicrograph import file_reader

    # Lazy: the values are mapped, so that dimensions that lie are found out before memory is taken.
    found = file_reader(str(path), lazy=True)
    images = []
    for one in found:
        tags = find(one["original_metadata"], _IMAGE_TAGS) or {}
        name = _name(tags) or (text(find(one["metadata"], "General/title")) if len(found) > 1 else "")
        images.append(FoundImage(taken(one["data"], path), name, _said(tags, name, one["axes"])))
    return images


def _name(tags: Mapping[str, Any]) -> str:
    return text(find(tags, "DataBar/Signal Name")) or nion_tags.channel_name(tags)


def _said(tags: Mapping[str, Any], name: str, axes: list[dict[str, Any]]) -> FileValues:
    def either(own: Quantity, nion: Quantity) -> Quantity:
        return nion if isinstance(nion, Known) else own

    inner, outer = nion_tags.collection(tags, name)
    return FileValues(
        high_tension_kv=either(look_up(tags, "high_tension_kv", _VOLTAGE), nion_tags.high_tension(tags)),
        convergence_semi_angle_mrad=either(
            look_up(tags, "convergence_semi_angle_mrad", _CONVERGENCE), nion_tags.convergence(tags)
        ),
        inner_mrad=inner,
        outer_mrad=outer,
        pixel_size_angstrom=pixel_size_of_axes(axes),
        dwell_us=either(_dwell(tags), nion_tags.dwell(tags)),
        probe_current_pa=look_up(tags, "probe_current_pa", _CURRENT),
    )


def _dwell(tags: Mapping[str, Any]) -> Quantity:
    """Dwell time of all passes that DigiScan added up."""
    sample = look_up(tags, "dwell_us", _SAMPLE_TIME)
    passes = number(find(tags, "DigiScan/Number Summing Frames")) or 1.0
    if not isinstance(sample, Known) or passes < 2:
        return sample
    return msgspec.structs.replace(
        sample, value=sample.value * passes, detail=f"{sample.detail}, {passes:g} frames summed"
    )
