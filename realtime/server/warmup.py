"""One frame through everything before the first client is answered: first calls compile and allocate."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np

from realtime.server.pipeline import Analyzer, FramePipeline
from realtime.wire.codec import AnyArray
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.results import FrameIdentity
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

logger = logging.getLogger(__name__)

_HOST: Final = "WSe2"
_OPTICS: Final = Optics(80.0, 30.0, 70.0, 200.0, 0.45)
_SIDE_PX: Final = 192
_PIXEL_ANGSTROM: Final = 0.25
_DOSE: Final = 1e5


def warm_up(analyzer: Analyzer) -> None:
    """Judge a rendered frame, and forget the result."""
    result = FramePipeline(analyzer).process(_frame(), _context(), FrameIdentity(scan_id="warm-up"))
    if result.refusal is not None:
        logger.warning("the warm-up frame was refused: %s %s", result.refusal.reason, result.refusal.fix)


def _context() -> ImagingContext:
    def here(value: float) -> Known:
        return Known(value, Source.USER, "warm-up")

    return ImagingContext(
        host=_HOST,
        dopants=("V",),
        high_tension_kv=here(_OPTICS.high_tension_kv),
        convergence_semi_angle_mrad=here(_OPTICS.convergence_semi_angle_mrad),
        inner_mrad=here(_OPTICS.inner_mrad),
        outer_mrad=here(_OPTICS.outer_mrad),
        pixel_size_angstrom=here(_PIXEL_ANGSTROM),
    )


def _frame() -> AnyArray:
    host = materials.host(_HOST)
    a = host.a_angstrom / _PIXEL_ANGSTROM
    i, j = np.mgrid[-40:80, -40:80].reshape(2, -1)
    first, second = np.array([0.0, a]), np.array([a * np.sqrt(3) / 2, a / 2])
    metal = i[:, None] * first + j[:, None] * second
    chalcogen = metal + (first + second) / 3
    columns = (host.metal, f"{host.chalcogen}+{host.chalcogen}")
    image = render_columns(
        (_SIDE_PX, _SIDE_PX),
        _PIXEL_ANGSTROM,
        np.concatenate([metal, chalcogen]),
        np.repeat([0, 1], len(metal)),
        response_tables(shipped_library(), columns, _OPTICS),
    )
    return count_electrons(image, _DOSE, _PIXEL_ANGSTROM, np.random.default_rng(0))
