"""Frames of doped monolayers with every site known, for tests that need a lattice and its defects."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Candidate, Role, Sublattice, candidates
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

HAADF = Optics(80.0, 30.0, 70.0, 200.0, 0.40)
MAADF = Optics(80.0, 30.0, 50.0, 120.0, 0.40)

#: Share of the sites of its sublattice.
PREVALENCE = {
    Role.CHALCOGEN_VACANCY: 0.04,
    Role.CHALCOGEN_DIVACANCY: 0.01,
    Role.METAL_VACANCY: 0.005,
    Role.DOPANT: 0.02,
}
VACANT_ROLES = frozenset({Role.CHALCOGEN_DIVACANCY, Role.METAL_VACANCY})


@dataclass(frozen=True)
class FrameRecipe:
    """How a frame is made; what is left out is the default case of the project's checks.

    Attributes
    ----------
    shear
        Standard deviation of the four terms of a random affine distortion (drift, scan calibration).
    warp_angstrom
        Amplitude of a smooth displacement with a period near the frame's height.
    background
        Constant, as a fraction of the metal's peak.
    contamination
        Smooth blobs, likewise.
    jitter_angstrom
        Random displacement of each column along each axis.
    """

    host: str = "WSe2"
    dopant: str = "V"
    optics: Optics = HAADF
    shape: tuple[int, int] = (512, 512)
    pixel_size_angstrom: float = 0.2
    dose_e_per_angstrom2: float = 1e4
    shear: float = 0.01
    warp_angstrom: float = 0.5
    warp_period_angstrom: float = 200.0
    background: float = 0.05
    contamination: float = 0.0
    jitter_angstrom: float = 0.05
    prevalence: dict[Role, float] = field(default_factory=lambda: dict(PREVALENCE))
    seed: int = 0


@dataclass(frozen=True)
class Frame:
    """An image in electrons a pixel, and the truth: the sites inside it, n of them.

    Attributes
    ----------
    positions_px
        (n, 2) y, x of the lattice site, without its random displacement.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    role
        (n,) `Role`.
    expected_ratio
        Peak of the chalcogen pair over the metal's.
    """

    image: NDArray[np.float32]
    positions_px: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    role: NDArray[np.object_]
    expected_ratio: float
    pixel_size_angstrom: float


@lru_cache(maxsize=64)
def _tables(columns: tuple[str, ...], optics: Optics) -> NDArray[np.float32]:
    return response_tables(shipped_library(), columns, optics)


def expected_ratio(host: str, optics: Optics = HAADF) -> float:
    """X2/M peak ratio that the response library gives."""
    made = materials.host(host)
    table = _tables((made.metal, f"{made.chalcogen}+{made.chalcogen}"), optics)
    return float(table[1, 0] / table[0, 0])


def make_frame(recipe: FrameRecipe) -> Frame:
    """Render one frame: random rotation, distortion, defects, background, Poisson counts."""
    rng = np.random.default_rng(recipe.seed)
    host = materials.host(recipe.host)
    listed = candidates(recipe.host, (recipe.dopant,))
    tables = _tables(tuple(c.column for c in listed), recipe.optics)
    px = recipe.pixel_size_angstrom
    size = np.array(recipe.shape) * px

    lattice, sublattice = _honeycomb(host.a_angstrom, float(np.hypot(*size)) / 2 + 15)
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    distortion = np.eye(2) + rng.normal(0, recipe.shear, (2, 2))
    positions = (lattice + rng.uniform(0, host.a_angstrom, 2)) @ (distortion @ rotation).T + size / 2
    positions = positions + _warp(positions, recipe, rng)
    near = ((positions > -6) & (positions < size + 6)).all(axis=1)
    positions, sublattice = positions[near], sublattice[near]

    which = _draw_candidates(listed, sublattice, recipe.prevalence, rng)
    moved = positions + rng.normal(0, recipe.jitter_angstrom, positions.shape)
    image = render_columns(recipe.shape, px, moved / px, which, tables)
    peak = float(tables[0, 0])
    image += recipe.background * peak
    if recipe.contamination:
        image += recipe.contamination * peak * _blobs(recipe.shape, px, rng)
    image = count_electrons(image, recipe.dose_e_per_angstrom2, px, rng)

    inside = ((positions >= 0) & (positions <= size - px)).all(axis=1)
    return Frame(
        image=image,
        positions_px=positions[inside] / px,
        sublattice=sublattice[inside],
        role=np.array([c.role for c in listed], dtype=object)[which[inside]],
        expected_ratio=float(tables[_host_rows(listed)[1], 0] / tables[_host_rows(listed)[0], 0]),
        pixel_size_angstrom=px,
    )


@dataclass(frozen=True)
class Score:
    """How a grid compares with the truth, more than `margin` inside the frame.

    Attributes
    ----------
    recall, vacant_recall
        Share of the sites found, of all and of those with no atom.
    precision
        Share of the found positions that are sites.
    naming
        Share of the found sites with the right sublattice.
    rms_angstrom
        Distance of the found ones.
    """

    recall: float
    vacant_recall: float
    precision: float
    naming: float
    rms_angstrom: float


def score(
    frame: Frame,
    positions_px: NDArray[np.float64],
    sublattice: NDArray[np.integer] | None = None,
    *,
    tolerance_angstrom: float = 0.6,
    margin_angstrom: float = 1.0,
) -> Score:
    """Match positions with the truth, each to its nearest."""
    px = frame.pixel_size_angstrom
    if not len(positions_px):
        return Score(0.0, 0.0, 0.0, 0.0, np.inf)
    shape = np.array(frame.image.shape)
    margin = margin_angstrom / px

    def well_inside(points: NDArray[np.float64]) -> NDArray[np.bool_]:
        return ((points > margin) & (points < shape - 1 - margin)).all(axis=1)

    distance, nearest = cKDTree(positions_px).query(frame.positions_px)
    counted = well_inside(frame.positions_px)
    found = (distance * px < tolerance_angstrom) & counted
    vacant = counted & np.isin(frame.role, list(VACANT_ROLES))
    back, _ = cKDTree(frame.positions_px).query(positions_px[well_inside(positions_px)])
    named = np.nan if sublattice is None else (sublattice[nearest] == frame.sublattice)[found].mean()
    return Score(
        recall=float(found.sum() / counted.sum()),
        vacant_recall=float((found & vacant).sum() / vacant.sum()) if vacant.any() else 1.0,
        precision=float((back * px < tolerance_angstrom).mean()),
        naming=float(named) if found.any() else 0.0,
        rms_angstrom=float(np.sqrt(np.mean((distance[found] * px) ** 2))) if found.any() else np.inf,
    )


def _honeycomb(a: float, reach: float) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Metal and chalcogen sites around the origin (Å)."""
    count = int(reach / (a * 0.75)) + 2
    i, j = np.meshgrid(np.arange(-count, count + 1), np.arange(-count, count + 1), indexing="ij")
    metal = np.stack([a * np.sqrt(3) / 2 * j, a * (i + j / 2)], axis=-1).reshape(-1, 2)
    both = np.concatenate([metal, metal + [a / np.sqrt(3), 0.0]])
    names = np.repeat(np.array([0, 1], np.int8), len(metal))
    kept = np.hypot(*both.T) < reach
    return both[kept], names[kept]


def _warp(positions: NDArray[np.float64], recipe: FrameRecipe, rng: np.random.Generator) -> NDArray[np.float64]:
    phase = rng.uniform(0, 2 * np.pi, 4)
    y, x = (2 * np.pi * positions / recipe.warp_period_angstrom).T
    along_y = np.sin(1.1 * x + phase[0]) + 0.5 * np.sin(0.7 * y + phase[1])
    along_x = np.sin(0.9 * y + phase[2]) + 0.5 * np.sin(1.3 * x + phase[3])
    warp: NDArray[np.float64] = recipe.warp_angstrom * np.stack([along_y, along_x], axis=1)
    return warp


def _blobs(shape: tuple[int, int], px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Positive smooth noise, about 1 high and 17 Å across."""
    knots = [int(np.ceil(n * px / 17)) + 4 for n in shape]
    coarse = rng.normal(size=knots)
    where = np.meshgrid(*(np.arange(n) * px / 17 + 1 for n in shape), indexing="ij")
    return np.clip(map_coordinates(coarse, where, order=3), 0, None).astype(np.float32)


def _host_rows(listed: tuple[Candidate, ...]) -> tuple[int, int]:
    roles = [c.role for c in listed]
    return roles.index(Role.METAL), roles.index(Role.CHALCOGEN_PAIR)


def _draw_candidates(
    listed: tuple[Candidate, ...],
    sublattice: NDArray[np.int8],
    prevalence: dict[Role, float],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Row of `listed` for every site."""
    which = np.empty(len(sublattice), np.int64)
    for code, name in enumerate((Sublattice.METAL, Sublattice.CHALCOGEN)):
        rows = [k for k, c in enumerate(listed) if c.sublattice is name]
        share = np.array([prevalence.get(listed[k].role, 0.0) for k in rows])
        share[[listed[k].is_defect for k in rows].index(False)] = 1.0 - share.sum()
        here = sublattice == code
        which[here] = rng.choice(rows, here.sum(), p=share)
    return which
