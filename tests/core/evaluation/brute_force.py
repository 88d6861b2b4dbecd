"""The same posterior by brute force: every unknown drawn from its prior, likelihoods averaged.

Slow, and only usable where a patch says little (low dose), but it shares no approximation with `reference`: nothing is
linearised, left out or interpolated but σ, which is drawn from many exact values. It is there to check `reference`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri

from stemctx_core.bayes import model
from stemctx_core.bayes.knowledge import Knowledge, told_by
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast.neighbourhood import neighbourhood
from stemctx_core.contrast.patches import sample_offsets
from stemctx_core.dataset.groups import Group
from stemctx_core.dataset.patches import neighbour_defects
from stemctx_core.errors import InputError
from stemctx_core.kernels.compiled import compiled
from stemctx_core.scene import Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

_SOURCES: Final = 33
_CHUNK: Final = 1000


def brute_log_posterior(
    group: Group,
    library: ResponseLibrary,
    draws: int,
    rng: np.random.Generator,
    nuisance: Knowledge | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, C) log posterior with equal priors, and (n, C) effective number of draws behind each evidence.

    Raises
    ------
    InputError
        Response errors or complexes, which are not drawn here.
    """
    told = group.scene
    if told.nuisance.response > 0 or any(c.vacancy_beside for c in told.candidates):
        raise InputError("Brute force knows no response errors and no complexes. Give a scene without them.")
    known = told_by(told) if nuisance is None else nuisance
    quantum = model.quantum(group.patches, group.rendered.electrons)
    counts = group.rendered.electrons[:, model.disc()].astype(np.float64)
    middles = (np.arange(_SOURCES) + 0.5) / _SOURCES
    sources = known.sigma_angstrom.at(ndtri(middles))
    tables = model.source_tables(library, told, sources)
    parts: list[list[NDArray[np.float64]]] = [[] for _ in told.candidates]
    for _ in range(0, draws, _CHUNK):
        for centre in Sublattice:
            for row, mean, weight in _means(told, known, tables, quantum, centre, rng):
                parts[row].append(counts @ np.log(mean).T - mean.sum(axis=1) + weight)
    evidence, effective = [], []
    for part in parts:
        logs = np.concatenate(part, axis=1)
        evidence.append(logsumexp(logs, axis=1))
        effective.append(np.exp(2 * logsumexp(logs, axis=1) - logsumexp(2 * logs, axis=1)))
    joint = np.stack(evidence, axis=1)
    return joint - logsumexp(joint, axis=1, keepdims=True), np.stack(effective, axis=1)


def _means(
    told: Scene,
    known: Knowledge,
    tables: NDArray[np.float64],
    quantum: float,
    centre: Sublattice,
    rng: np.random.Generator,
) -> list[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """Candidate row, (draws, S) expected electrons and (draws,) log weight of the told dose, one chunk of draws."""
    n, a, near = told.nuisance, told.host.a_angstrom, neighbourhood(centre)
    hosts = host_rows(told.candidates)
    count = len(near.positions)
    kinds = np.tile(np.where(near.on_metal, hosts[0], hosts[1]), (_CHUNK, 1))
    for sublattice, there in ((Sublattice.METAL, near.on_metal), (Sublattice.CHALCOGEN, ~near.on_metal)):
        chosen = (rng.random((_CHUNK, count)) < n.defects) & there
        others, share = neighbour_defects(told.candidates, sublattice, known.every_defect)
        kinds[chosen] = rng.choice(others, int(chosen.sum()), p=share)

    def scattered(size: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        scale = size * np.exp(rng.normal(0, known.scatter, (_CHUNK, *np.ones(len(shape), int))))
        return np.asarray(scale * rng.standard_normal((_CHUNK, *shape)))

    places = near.positions * a + scattered(n.shift_angstrom, (1, 2)) + scattered(n.jitter_angstrom, (count, 2))
    factors = 1 + scattered(n.amplitude, (count,))
    ratio = known.ratio.at(rng.standard_normal(_CHUNK))
    gain = known.gain.at(rng.standard_normal(_CHUNK))
    background = known.background.at(rng.standard_normal(_CHUNK))
    source = rng.integers(len(tables), size=_CHUNK)
    on_chalcogen = np.array([c.sublattice is Sublattice.CHALCOGEN for c in told.candidates])
    scaled = np.where(on_chalcogen[kinds], ratio[:, None], 1.0) * factors
    reference = np.maximum(tables[source, hosts[0], 0], ratio * tables[source, hosts[1], 0])
    offsets = sample_offsets()[model.disc()] * a
    around = _render(tables, source, kinds[:, 1:], places[:, 1:], scaled[:, 1:], offsets)
    weight = -0.5 * ((np.log(gain / reference) - model.log_dose_told(told, quantum)) / known.dose) ** 2
    found = []
    for row in (i for i, c in enumerate(told.candidates) if c.sublattice is centre):
        own = factors[:, :1] * (ratio[:, None] if on_chalcogen[row] else 1.0)
        image = around + _render(tables, source, np.full((_CHUNK, 1), row), places[:, :1], own, offsets)
        image = gain[:, None] / quantum * (image / reference[:, None] + background[:, None])
        found.append((row, np.maximum(image, 1e-9), weight))
    return found


@compiled()
def _render(tables, source, kinds, places, factors, offsets):  # type: ignore[no-untyped-def]
    images = np.zeros((len(kinds), len(offsets)))
    for d in range(len(kinds)):
        for j in range(kinds.shape[1]):
            table = tables[source[d], kinds[d, j]]
            for s in range(len(offsets)):
                dy, dx = offsets[s, 0] - places[d, j, 0], offsets[s, 1] - places[d, j, 1]
                squared = dy * dy + dx * dx
                if squared < REACH_ANGSTROM * REACH_ANGSTROM:
                    place = squared / SQUARED_STEP
                    cell = int(place)
                    value = table[cell] + (table[cell + 1] - table[cell]) * (place - cell)
                    images[d, s] += factors[d, j] * value
    return images
