"""The generative model of a patch, from the observer's side.

The counts of a patch are Poisson, n_s ~ Poisson(λ_s), with ε electrons a sample, the response T of each column and
the reference R = max(T_M(0), T_X2(0)):

    λ_s = ε · [Σ_j α_j T_{k_j}(|s - x_j - d_j - δ|; σ) + b R].

The classifier is given p_s = (n_s / (ε R) - b') g with a told background b' and a gain g near 1. All n_s are whole
numbers, hence p_s moves in steps of q = g / (ε R), and whoever sees a patch can read off q and the counts. So an
observer of patch and told scene loses nothing by the calibration, and what is uncertain of the dose becomes an unknown
gain of an image in units of the reference, and one weak constraint by the told dose ε'. (The value at no counts,
-g b', would betray g itself; that comes of how patches are made, no frame tells it, and it is not used.)

    λ_s = (g / q) · [Σ_j α_j T_{k_j} / R + b],    ln(g / (q R)) = ln ε ~ N(ln ε', 0.1).

Unknown, each with the distribution of `knowledge` around what is told: g, b, σ, the ratio X2/M (a factor on that
sublattice), the shift δ ~ N(0, τ_s²) of the patch, a displacement d_j ~ N(0, τ_j²) of each column, an amplitude α_j, the error of each
candidate's response (shared by all columns of its kind), the scales of these scatters (known to 15 %), and which
neighbours are defects. The dose and the ratio are given flat priors, as are σ and b in a calibrated frame: truth is
then distributed around what is told as what is told is around truth.

The unknowns are a vector z of standard normal scores: gain, background, σ, ratio, shift (2), then two scores a
displaced column, and amplitudes and the candidates' responses where these are uncertain. The scales of the scatters
are integrated out of their prior. Neighbours whose displacement, or replacement, could not be felt at the given dose
are left where, and what, they are: their Fisher information about it is below `_FELT`. The samples are those within
`patches.HALF_WIDTH`, the same that the features use.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemctx_core.bayes.knowledge import SCORES, Knowledge
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast.neighbourhood import neighbourhood
from stemctx_core.contrast.patches import HALF_WIDTH, PITCH, sample_offsets
from stemctx_core.dataset.patches import neighbour_defects
from stemctx_core.encoding.scene_columns import scene_tables
from stemctx_core.scene import Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

GAIN, BACKGROUND, SIGMA, RATIO, SHIFT, MOVES = 0, 1, 2, 3, 4, 6
_FELT: Final = 0.01
#: A column is looked up at samples this much farther than its reach, for it may move.
_MARGIN_ANGSTROM: Final = 0.4
_WIDEST_SCORE: Final = 4.5
#: Up to this range of σ (Å) three tables are enough.
_NARROW_ANGSTROM: Final = 0.05


class Site(NamedTuple):
    """Arrays of a scene around a site of one sublattice, as compiled code takes them; N columns, S samples.

    Attributes
    ----------
    offsets
        (S, 2) samples seen from the site (Å).
    tables, nodes
        (m, C, L) responses at (m,) values of σ.
    maps
        (4, scores) gain, background, σ and ratio by score.
    positions, home
        (N, 2) columns (Å) and the candidate row that each is by default; the site is the first.
    start, samples
        Samples in reach of column j are ``samples[start[j]:start[j + 1]]``.
    moved
        (N,) number among the displaced columns, or -1.
    replaced, by, log_odds
        (E,) column, candidate row and prior log odds of each possible defect of a neighbour, grouped by column.
    chalcogen
        (C,) whether a candidate stands on that sublattice.
    response_score
        (C,) index of its response error in z, or -1.
    hosts
        Candidate rows of the host's two columns.
    scales
        Shift, jitter (Å), amplitude, response, and the relative error of the first three.
    moving, amplitude_from, size
        Number of displaced columns; where amplitudes start in z, or -1; length of z.
    """

    offsets: NDArray[np.float64]
    tables: NDArray[np.float64]
    nodes: NDArray[np.float64]
    maps: NDArray[np.float64]
    positions: NDArray[np.float64]
    home: NDArray[np.int64]
    start: NDArray[np.int64]
    samples: NDArray[np.int64]
    moved: NDArray[np.int64]
    replaced: NDArray[np.int64]
    by: NDArray[np.int64]
    log_odds: NDArray[np.float64]
    chalcogen: NDArray[np.bool_]
    response_score: NDArray[np.int64]
    hosts: NDArray[np.int64]
    scales: NDArray[np.float64]
    moving: int
    amplitude_from: int
    size: int


def disc() -> NDArray[np.bool_]:
    """(SAMPLES,) whether a sample is one that features use."""
    inside: NDArray[np.bool_] = np.linalg.norm(sample_offsets(), axis=1) <= HALF_WIDTH
    return inside


def quantum(patches: NDArray[np.float32], electrons: NDArray[np.float32]) -> float:
    """What one electron adds to a calibrated patch: gain over electrons a sample and reference."""
    counts = electrons.astype(np.float64) - electrons.mean(dtype=np.float64)
    values = patches.astype(np.float64) - patches.mean(dtype=np.float64)
    return float(np.sum(values * counts) / np.sum(counts**2))


def log_dose_told(told: Scene, quantum_of_patch: float) -> float:
    """ln(q ε'), to be compared with ln(g / R)."""
    area = (PITCH * told.host.a_angstrom) ** 2
    return float(np.log(quantum_of_patch * told.dose_e_per_angstrom2 * area))


def defects_of(told: Scene, known: Knowledge, on_metal: bool) -> list[tuple[int, float]]:
    """Candidate rows that a neighbour may be instead of the host's column, each with its probability."""
    sublattice = Sublattice.METAL if on_metal else Sublattice.CHALCOGEN
    rows, share = neighbour_defects(told.candidates, sublattice, known.every_defect)
    return [(int(row), told.nuisance.defects * float(part)) for row, part in zip(rows, share, strict=True)]


def source_nodes(known: Knowledge) -> NDArray[np.float64]:
    """Values of σ (Å) between which responses are interpolated by one polynomial."""
    low, high = known.sigma_angstrom.at(np.array([-_WIDEST_SCORE, _WIDEST_SCORE]))
    return np.linspace(low, max(high, low + 1e-4), 3 if high - low < _NARROW_ANGSTROM else 7)


def source_tables(library: ResponseLibrary, told: Scene, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, C, L) responses of the candidates at values of σ, the told ratio included."""
    scenes = [replace(told, optics=replace(told.optics, sigma_angstrom=float(node))) for node in nodes]
    return np.stack([scene_tables(library, scene) for scene in scenes]).astype(np.float64)


def site(
    told: Scene, known: Knowledge, nodes: NDArray[np.float64], tables: NDArray[np.float64], centre: Sublattice
) -> Site:
    """Put a scene into arrays for sites of one sublattice."""
    n, a = told.nuisance, told.host.a_angstrom
    near = neighbourhood(centre)
    hosts = np.array(host_rows(told.candidates))
    offsets = sample_offsets()[disc()] * a
    positions = near.positions * a
    home = np.where(near.on_metal, hosts[0], hosts[1])
    squared = np.sum((offsets[None] - positions[:, None]) ** 2, axis=-1)
    reached = squared < (REACH_ANGSTROM + _MARGIN_ANGSTROM) ** 2
    electrons = told.dose_e_per_angstrom2 * (PITCH * a) ** 2
    middle = tables[len(nodes) // 2]
    patch = sum(_look_up(middle[h], squared[j]) for j, h in enumerate(home))
    reference = middle[hosts, 0].max()
    mean = electrons * (patch + max(told.background, 0.01) * reference)
    felt = [_moves_felt(middle[h], squared[j], electrons, mean) for j, h in enumerate(home)]
    most = max(n.jitter_angstrom**2, 1e-12)
    moved = np.array([j == 0 or felt[j] * most > _FELT for j in range(len(home))])
    entries = [
        (j, row, np.log(rate / (1 - n.defects)))
        for j in range(1, len(home))
        for row, rate in defects_of(told, known, bool(near.on_metal[j]))
        if n.defects > 0
        and np.sum((electrons * _look_up(middle[row] - middle[home[j]], squared[j])) ** 2 / mean) > _FELT
    ]
    moving = int(moved.sum())
    after_moves = MOVES + 2 * moving
    after_amplitudes = after_moves + (moving if n.amplitude > 0 else 0)
    uncertain = np.array([c.is_defect and n.response > 0 for c in told.candidates])
    return Site(
        offsets=np.ascontiguousarray(offsets),
        tables=np.ascontiguousarray(tables),
        nodes=nodes,
        maps=np.stack(
            [u.at(SCORES) for u in (known.gain, known.background, known.sigma_angstrom, known.ratio)]
        ),
        positions=np.ascontiguousarray(positions),
        home=home.astype(np.int64),
        start=np.concatenate([[0], np.cumsum(reached.sum(axis=1))]).astype(np.int64),
        samples=np.nonzero(reached)[1].astype(np.int64),
        moved=np.where(moved, np.cumsum(moved) - 1, -1).astype(np.int64),
        replaced=np.array([e[0] for e in entries], np.int64),
        by=np.array([e[1] for e in entries], np.int64),
        log_odds=np.array([e[2] for e in entries], np.float64),
        chalcogen=np.array([c.sublattice is Sublattice.CHALCOGEN for c in told.candidates]),
        response_score=np.where(uncertain, after_amplitudes + np.cumsum(uncertain) - 1, -1).astype(np.int64),
        hosts=hosts.astype(np.int64),
        scales=np.array([n.shift_angstrom, n.jitter_angstrom, n.amplitude, n.response, known.scatter]),
        moving=moving,
        amplitude_from=after_moves if n.amplitude > 0 else -1,
        size=after_amplitudes + int(uncertain.sum()),
    )


def _look_up(table: NDArray[np.float64], squared: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.interp(squared / SQUARED_STEP, np.arange(len(table)), table)


def _moves_felt(
    table: NDArray[np.float64], squared: NDArray[np.float64], electrons: float, mean: NDArray[np.float64]
) -> float:
    """Fisher information of a sample set about a column's position along one axis (Å⁻²), the mean of both axes."""
    slope = (_look_up(table, squared + SQUARED_STEP) - _look_up(table, squared)) / SQUARED_STEP
    return float(np.sum((electrons * slope) ** 2 * 2 * squared / mean))
