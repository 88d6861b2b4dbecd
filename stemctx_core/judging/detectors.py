"""Detectors that saw one scan, HAADF and MAADF for one: whether they did, and which shows the lattice best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.frame_checks import check_image
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext
from stemctx_core.encoding.knowledge import Knowledge
from stemctx_core.errors import FrameError
from stemctx_core.scene import host_columns
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import response_tables


def clearest_first(
    library: ResponseLibrary,
    seen: Sequence[tuple[NDArray[Any], ImagingContext]],
    known: Callable[[ImagingContext], Knowledge],
) -> list[tuple[NDArray[Any], ImagingContext]]:
    """Images with their contexts, the one that shows the fainter sublattice best before the others.

    Parameters
    ----------
    known
        What a context says of the optics.

    Raises
    ------
    FrameError
        Where they are not of one scan, or one of them is no image.
    """
    image, context = seen[0]
    clearness = []
    for other_image, other in seen:
        same = _as_of(other, context)
        if other_image.shape != image.shape or same != context:
            raise FrameError(
                "different_scans",
                "The detectors' images differ in shape, or their contexts in more than angles and channel.",
                "Give images of one scan, each with the context of its detector.",
            )
        check_image(other_image)
        peaks = response_tables(library, host_columns(materials.host(other.host)), known(other).optics)[:, 0]
        clearness.append(float(peaks.min() / np.sqrt(peaks.mean())))
    order = sorted(range(len(seen)), key=lambda k: -clearness[k])
    return [seen[k] for k in order]


def _as_of(one: ImagingContext, other: ImagingContext) -> ImagingContext:
    """A context with the detector of another one."""
    return msgspec.structs.replace(
        one, inner_mrad=other.inner_mrad, outer_mrad=other.outer_mrad, channel=other.channel
    )
