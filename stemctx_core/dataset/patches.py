"""Patches of every candidate of a scene, counted electron by electron.

What is random in a patch: where every column stands, how bright it is, which neighbours are defects and which, and
the electrons counted. Neighbours are drawn once a row, that is once for one patch of each candidate of a sublattice;
displacement and brightness of the site's own column, and the electrons, are drawn for every patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import REAL_PREVALENCE, Candidate, Role, Sublattice
from stemctx_core.contrast.neighbourhood import neighbourhood
from stemctx_core.contrast.patches import PITCH, SAMPLES
from stemctx_core.dataset.patch_kernel import count_patches, sample_spans
from stemctx_core.encoding.scene_columns import scene_tables
from stemctx_core.errors import InputError
from stemctx_core.scene import Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary

#: Chalcogen columns nearest to a metal site; a candidate with `vacancy_beside` lacks an atom in one of them.
_BONDS = 3
_LIKELIEST = (
    Role.DOPANT,
    Role.CHALCOGEN_VACANCY,
    *(r for r in Role if r not in (Role.DOPANT, Role.CHALCOGEN_VACANCY)),
)


@dataclass(frozen=True)
class RenderedPatches:
    """Patches of one scene, as counted.

    Attributes
    ----------
    electrons
        (n, SAMPLES) float32 electrons counted in each sample.
    label
        (n,) int64 index into the scene's candidates.
    electrons_per_sample
        What the whole beam would count in a sample: dose times its area.
    reference
        Peak of the brighter host column as a fraction of the beam.
    """

    electrons: NDArray[np.float32]
    label: NDArray[np.int64]
    electrons_per_sample: float
    reference: float


def neighbour_defects(
    candidates: tuple[Candidate, ...], sublattice: Sublattice, of_every_kind: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What a defective neighbour on a sublattice is.

    Parameters
    ----------
    of_every_kind
        Whether it may be any defect of the list, by its role's share of `classes.REAL_PREVALENCE`; candidates with
        `vacancy_beside` are left out, being two columns. Otherwise it is the likeliest alone, which is what
        `encoding` reckons with: a dopant, each as likely as the others, where there is one; a single vacancy on the
        chalcogen sublattice.

    Returns
    -------
    tuple of numpy.ndarray
        Rows of the candidate list, and the probability of each given that the neighbour is a defect. Both are empty
        where the list has no defect of the sublattice; its neighbours are then all the host's.
    """
    rows = [
        i
        for i, c in enumerate(candidates)
        if c.is_defect and c.sublattice is sublattice and not c.vacancy_beside
    ]
    if not of_every_kind:
        likeliest = min((_LIKELIEST.index(candidates[i].role) for i in rows), default=0)
        rows = [i for i in rows if candidates[i].role is _LIKELIEST[likeliest]]
    of_role = [candidates[i].role for i in rows]
    rates = np.array([REAL_PREVALENCE[role] / of_role.count(role) for role in of_role])
    return np.array(rows, np.int64), rates / max(rates.sum(), 1e-300)


def render_patches(
    library: ResponseLibrary,
    truth: Scene,
    repeats: int | Sequence[int] | NDArray[np.int64],
    rng: np.random.Generator,
    only_features: bool = False,
    every_defect: bool = False,
) -> RenderedPatches:
    """`repeats` patches of every candidate of a scene, with neighbours, displacements and counting noise.

    Every candidate's simulated response is off by one draw of the nuisance `response`.

    Parameters
    ----------
    repeats
        Patches of every candidate, or of each.
    only_features
        Whether to render only the disc of samples that features use and leave the others at 0, which is half as
        fast again. What is inside the disc is the same either way.
    every_defect
        Whether a neighbour that is a defect may be of every kind in the list; see `neighbour_defects`.

    Raises
    ------
    InputError
        A dose that is not above zero, no repeats, or a candidate with a vacancy beside it in a list without vacancies.
    LibraryError
        Where the library cannot answer for the scene's optics or columns.
    """
    if not (np.isfinite(truth.dose_e_per_angstrom2) and truth.dose_e_per_angstrom2 > 0):
        raise InputError(
            f"A dose of {truth.dose_e_per_angstrom2:g} e/Å² counts nothing. Give a dose above zero."
        )
    each = np.broadcast_to(np.asarray(repeats, np.int64), (len(truth.candidates),))
    if each.min() < 0 or each.sum() < 1:
        raise InputError(f"{repeats} patches of each candidate cannot be rendered. Give 1 or more.")
    tables = scene_tables(library, truth)
    metal, chalcogen = host_rows(truth.candidates)
    reference = float(max(tables[metal, 0], tables[chalcogen, 0]))
    defect = np.array([c.is_defect for c in truth.candidates])
    off = np.where(defect, 1 + rng.normal(0, truth.nuisance.response, len(defect)), 1.0).astype(np.float32)
    electrons_per_sample = truth.dose_e_per_angstrom2 * (PITCH * truth.host.a_angstrom) ** 2
    seed = rng.integers(0, 2**64, dtype=np.uint64)
    electrons = np.zeros((int(each.sum()), SAMPLES), np.float32)
    label = np.empty(len(electrons), np.int64)
    first = 0
    for centre in Sublattice:
        rows = np.array([i for i, c in enumerate(truth.candidates) if c.sublattice is centre])
        wanted = np.arange(each[rows].max())[:, None] < each[rows]
        slots = np.where(wanted, first + np.cumsum(wanted).reshape(wanted.shape) - 1, -1)
        label[slots[wanted]] = np.broadcast_to(rows, wanted.shape)[wanted]
        drawn = _draw(truth, rows, len(slots), rng, every_defect)
        count_patches(
            electrons,
            slots,
            np.ascontiguousarray(tables * off[:, None]),
            drawn.around,
            drawn.kind,
            drawn.own,
            rows,
            drawn.amplitude,
            drawn.vacant_bond,
            _vacancy_row(truth.candidates),
            sample_spans(only_features),
            PITCH * truth.host.a_angstrom,
            np.float32(truth.background * reference),
            electrons_per_sample,
            seed,
        )
        first += int(wanted.sum())
    return RenderedPatches(electrons, label, electrons_per_sample, reference)


@dataclass(frozen=True)
class _Drawn:
    """Random numbers of the patches around the C candidates of one sublattice; N neighbours, R rows.

    Attributes
    ----------
    around, own
        (R, N, 2) and (R, C, 2) positions u, v of the neighbours and of the site's own column (Å).
    kind
        (R, N) row of the response tables for each neighbour.
    amplitude
        (R, N + C) brightness of each neighbour and each own column, relative.
    vacant_bond
        (R, C) neighbour that lacks an atom, -1 where none does.
    """

    around: NDArray[np.float32]
    own: NDArray[np.float32]
    kind: NDArray[np.int64]
    amplitude: NDArray[np.float32]
    vacant_bond: NDArray[np.int64]


def _draw(
    truth: Scene, rows: NDArray[np.int64], repeats: int, rng: np.random.Generator, every_defect: bool
) -> _Drawn:
    n, a = truth.nuisance, truth.host.a_angstrom
    centre = truth.candidates[rows[0]].sublattice
    near = neighbourhood(centre)
    on_metal = near.on_metal[1:]
    count = len(on_metal)
    metal, chalcogen = host_rows(truth.candidates)
    kind = np.where(on_metal, metal, chalcogen) + np.zeros((repeats, 1), np.int64)
    replaced = rng.random((repeats, count)) < n.defects
    for sublattice, there in ((Sublattice.METAL, on_metal), (Sublattice.CHALCOGEN, ~on_metal)):
        chosen = replaced & there
        others, share = neighbour_defects(truth.candidates, sublattice, every_defect)
        if len(others):
            kind[chosen] = rng.choice(others, size=int(chosen.sum()), p=share)
    shift = rng.normal(0, n.shift_angstrom, (repeats, 1, 2))
    around = near.positions[1:] * a + rng.normal(0, n.jitter_angstrom, (repeats, count, 2)) + shift
    own = rng.normal(0, n.jitter_angstrom, (repeats, len(rows), 2)) + shift
    amplitude = np.ones((repeats, count + len(rows)))
    if n.amplitude:
        amplitude += rng.normal(0, n.amplitude, amplitude.shape)
    beside = np.array([truth.candidates[i].vacancy_beside for i in rows])
    vacant_bond = np.full((repeats, len(rows)), -1)
    vacant_bond[:, beside] = rng.integers(_BONDS, size=(repeats, int(beside.sum())))
    return _Drawn(
        around.astype(np.float32),
        own.astype(np.float32),
        kind,
        amplitude.astype(np.float32),
        vacant_bond,
    )


def _vacancy_row(candidates: tuple[Candidate, ...]) -> int:
    roles = [c.role for c in candidates]
    if Role.CHALCOGEN_VACANCY in roles:
        return roles.index(Role.CHALCOGEN_VACANCY)
    if any(c.vacancy_beside for c in candidates):
        raise InputError(
            "A candidate with a vacancy beside it needs the single vacancy in its list. Add it to the candidates."
        )
    return -1
