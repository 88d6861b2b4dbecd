"""Which column stands at which site: prevalences, clusters of dopants, vacancies beside dopants."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.chemistry.classes import Candidate, Role, Sublattice
from stemctx_core.dataset.sites import LatticeSites


def populate(
    sites: LatticeSites,
    listed: tuple[Candidate, ...],
    shares: tuple[float, ...],
    clustering: float,
    a_angstrom: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw what stands at every site.

    Parameters
    ----------
    shares
        Probability of each candidate at a site of its sublattice.
    clustering
        Share of the dopants that is moved beside other dopants.

    Returns
    -------
    numpy.ndarray
        (n,) int64 row of `listed`.
    """
    column = np.empty(len(sites.sublattice), np.int64)
    uniform = rng.random(len(column))
    for code, name in enumerate(Sublattice):
        rows = np.array([k for k, c in enumerate(listed) if c.sublattice is name])
        picked = np.searchsorted(np.array(shares)[rows].cumsum(), uniform, side="right")
        here = sites.sublattice == code
        # Rounding may leave the last cumulative share a hair below 1.
        column[here] = rows[np.minimum(picked, len(rows) - 1)][here]
    for layer in range(int(sites.layer.max(initial=0)) + 1):
        of = np.flatnonzero(sites.layer == layer)
        part, where = column[of], sites.positions_angstrom[of]
        metal, chalcogen = (np.flatnonzero(sites.sublattice[of] == s) for s in (0, 1))
        if clustering and len(metal):
            _cluster(part, metal, where, listed, clustering, a_angstrom, rng)
        if any(c.role is Role.DOPANT_WITH_VACANCY for c in listed) and len(metal) and len(chalcogen):
            _pair_with_vacancies(part, metal, chalcogen, where, listed, a_angstrom, rng)
        column[of] = part
    return column


def _cluster(
    column: NDArray[np.int64],
    metal: NDArray[np.intp],
    positions: NDArray[np.float64],
    listed: tuple[Candidate, ...],
    share: float,
    a: float,
    rng: np.random.Generator,
) -> None:
    """Move a share of the dopants to host sites beside dopants that stay; their number is kept."""
    host = [c.role for c in listed].index(Role.METAL)
    dopant = np.array([c.role is Role.DOPANT for c in listed])
    tree = cKDTree(positions[metal])
    order = rng.permutation(metal[dopant[column[metal]]])
    movers = order[: round(share * len(order))]
    grown = [int(site) for site in order[len(movers) :]]
    if not grown and len(movers):
        grown, movers = [int(movers[0])], movers[1:]
    for mover in movers:
        for _ in range(20):
            beside = metal[tree.query_ball_point(positions[grown[rng.integers(len(grown))]], 1.1 * a)]
            free = beside[column[beside] == host]
            if len(free):
                chosen = int(rng.choice(free))
                column[chosen], column[mover] = column[mover], host
                grown.append(chosen)
                break


def _pair_with_vacancies(
    column: NDArray[np.int64],
    metal: NDArray[np.intp],
    chalcogen: NDArray[np.intp],
    positions: NDArray[np.float64],
    listed: tuple[Candidate, ...],
    a: float,
    rng: np.random.Generator,
) -> None:
    """Give every dopant that is to have one its vacancy, then name all dopants by what really is beside them."""
    roles = [c.role for c in listed]
    full, missing = roles.index(Role.CHALCOGEN_PAIR), roles.index(Role.CHALCOGEN_VACANCY)
    alone = {c.column: k for k, c in enumerate(listed) if c.role is Role.DOPANT}
    paired = {c.column: k for k, c in enumerate(listed) if c.role is Role.DOPANT_WITH_VACANCY}
    sites = metal[np.isin(column[metal], [*alone.values(), *paired.values()])]
    found = cKDTree(positions[chalcogen]).query_ball_point(positions[sites], 1.2 * a / math.sqrt(3))
    beside = [chalcogen[np.asarray(near, np.intp)] for near in found]
    for site, around in zip(sites, beside, strict=True):
        free = around[column[around] == full]
        if (
            roles[column[site]] is Role.DOPANT_WITH_VACANCY
            and len(free)
            and not np.any(column[around] == missing)
        ):
            column[rng.choice(free)] = missing
    for site, around in zip(sites, beside, strict=True):
        kinds = paired if np.count_nonzero(column[around] == missing) else alone
        column[site] = kinds[listed[column[site]].column]
