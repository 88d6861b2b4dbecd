"""What interpolation between the nodes of a library costs: probes that it does not hold, simulated afresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.building.assemble import thermal_mean
from stemctx_core.simulation.building.plan import BuildPlan
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.multislice import probe_radii_angstrom
from stemctx_core.simulation.nodes import Node, reduced_response
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.radial import FineRadii, blur

#: Probes between the nodes of the shipped library.
PROBES: Final = (
    Node(22.5),
    Node(27.5),
    Node(34.0),
    Node(38.0),
    Node(30.0, 3.0),
    Node(30.0, 5.0),
    Node(27.5, 3.0),
    Node(33.0, 3.0),
    Node(33.0, 5.0),
    Node(30.0, 0.0, 3.0),
    Node(30.0, 2.0, 2.0),
    Node(30.0, 3.0, 3.0),
    Node(28.0, 2.0, 2.0),
    Node(32.0, 2.0, 2.0),
)
DETECTORS_MRAD: Final = ((50.0, 120.0), (70.0, 200.0))
SIGMA_ANGSTROM: Final = 0.45


@dataclass(frozen=True)
class InterpolationError:
    """How far the library is from a fresh simulation, percent of the peak of that in focus.

    Attributes
    ----------
    peak_percent
        Of the response on the column.
    worst_percent
        Largest over all distances.
    turning_percent
        Largest of the part that turns with the astigmatism; 0 where there is none.
    moved_percent
        How far the probe moves the peak: what would be wrong without the nodes.
    """

    high_tension_kv: float
    column: str
    probe: Node
    inner_mrad: float
    outer_mrad: float
    peak_percent: float
    worst_percent: float
    turning_percent: float
    moved_percent: float


def interpolation_errors(
    library: ResponseLibrary,
    high_tension_kv: float,
    keys: tuple[str, ...] = ("W", "Mo", "S+S", "Se+Se", "Se"),
    probes: tuple[Node, ...] = PROBES,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[InterpolationError]:
    """Simulate probes between the nodes and compare; probes that the library refuses are left out."""
    settings = BuildPlan().settings(high_tension_kv)
    found: list[InterpolationError] = []
    for done, (column, probe) in enumerate((c, p) for c in keys for p in probes):
        if progress:
            progress(done, len(keys) * len(probes), f"{column} {high_tension_kv:g} kV, {probe.title}")
        try:
            for detector in DETECTORS_MRAD:
                library.check(_optics(probe, high_tension_kv, detector))
        except LibraryError:
            continue
        rings = reduced_response(column, probe, settings).astype(np.float64)
        if columns.is_pair(column):
            still = reduced_response(column, Node(library.convergence_semi_angle_mrad), settings)
            shift = rings if probe.astigmatism_nm else thermal_mean(column, rings, settings)[:, None]
            start = still[:, :1] if probe.astigmatism_nm else thermal_mean(column, still, settings)[:, None]
            rings = shift - np.pad(start, [(0, len(shift) - 1), (0, 0), (0, 0), (0, 0)])
            rings[0, 0] += library.mean_rings(column, high_tension_kv)
        found += [
            _compare(library, column, probe, high_tension_kv, detector, rings[:, 0])
            for detector in DETECTORS_MRAD
        ]
    return found


def _optics(probe: Node, kv: float, detector: tuple[float, float]) -> Optics:
    convergence = probe.convergence_semi_angle_mrad
    return Optics(kv, convergence, *detector, SIGMA_ANGSTROM, probe.defocus_nm, probe.astigmatism_nm)


def _compare(
    library: ResponseLibrary,
    column: str,
    probe: Node,
    kv: float,
    detector: tuple[float, float],
    rings: NDArray[np.float64],
) -> InterpolationError:
    optics = _optics(probe, kv, detector)
    weights = library.ring_weights(*detector)[: rings.shape[-1]]
    at_rest = FineRadii(probe_radii_angstrom())(rings @ weights)
    _, motion = library.at_rest((column,), optics)
    sigma = np.hypot(SIGMA_ANGSTROM, motion)
    fresh = blur(at_rest[:1], sigma)[0]
    held = library.response(column, optics)
    turning = library.astigmatic(column, optics)
    turned = 0.0
    if turning is not None:
        turned = float(np.abs(blur(at_rest[1:], sigma, order=2)[0] - turning).max())
    peak = float(library.profile(column, kv, *detector, SIGMA_ANGSTROM)[0])
    return InterpolationError(
        kv,
        column,
        probe,
        *detector,
        peak_percent=100 * float(held[0] - fresh[0]) / peak,
        worst_percent=100 * float(np.abs(held - fresh).max()) / peak,
        turning_percent=100 * turned / peak,
        moved_percent=100 * (float(fresh[0]) / peak - 1),
    )
