"""The lattice followed from frame to frame is never a worse one than that looked for anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from stemctx_core.chemistry import materials
from stemctx_core.lattice import SiteGrid, find_sites, track_sites
from tests.core.frames import Frame, FrameRecipe, make_frame, score

WSE2 = materials.host("WSe2")
SIDE = 400


@pytest.fixture(scope="module")
def field() -> Frame:
    """A field larger than a frame, hardly any noise."""
    return make_frame(FrameRecipe(shape=(520, 520), seed=2, dose_e_per_angstrom2=1e8))


def frame_at(field: Frame, y: int, x: int, dose: float, seed: int, rows: int = SIDE) -> Frame:
    """A frame of the field, with counting noise of its own."""
    image = np.random.default_rng(seed).poisson(field.image[y : y + rows, x : x + SIDE] * dose / 1e8)
    positions = field.positions_px - [y, x]
    inside = ((positions >= 0) & (positions <= [rows - 1, SIDE - 1])).all(axis=1)
    return replace(
        field,
        image=image.astype(np.float32),
        positions_px=positions[inside],
        sublattice=field.sublattice[inside],
        role=field.role[inside],
    )


def found(frame: Frame) -> SiteGrid:
    return find_sites(frame.image, WSE2, frame.expected_ratio, 0.2)


def followed(frame: Frame, before: SiteGrid) -> SiteGrid | None:
    return track_sites(frame.image, before, WSE2, frame.expected_ratio)


@pytest.mark.parametrize("dose", [1e3, 1e5])
def test_drifts_of_up_to_several_cells(field: Frame, dose: float) -> None:
    """Steps of 0 to 10 Å one after the other; the vacant sites are followed too."""
    grid = found(frame_at(field, 0, 0, dose, 0))
    rms = []
    for k, (y, x) in enumerate([(0, 0), (1, 2), (4, 4), (12, 8), (40, 48), (90, 90), (60, 100)]):
        frame = frame_at(field, y, x, dose, 1 + k)
        anew, next_grid = found(frame), followed(frame, grid)
        assert next_grid is not None
        grid = next_grid
        told = score(frame, grid.positions_px, grid.sublattice)
        assert told.recall >= 0.999
        assert (told.vacant_recall, told.naming) == (1.0, 1.0)
        assert told.precision >= 0.999
        rms.append((told.rms_angstrom, score(frame, anew.positions_px).rms_angstrom))
    mine, anew_rms = np.array(rms).T
    print(f"\n{dose:.0e} e/Å²: rms {mine.mean():.4f} Å followed, {anew_rms.mean():.4f} Å anew")
    assert np.sqrt(np.mean(mine**2)) < 1.1 * np.sqrt(np.mean(anew_rms**2))
    assert (mine < anew_rms + 0.015).all()


def test_a_long_run_does_not_drift_away(field: Frame) -> None:
    grid = found(frame_at(field, 50, 50, 1e3, 0))
    for seed in range(1, 25):
        frame = frame_at(field, 50, 50, 1e3, seed)
        next_grid = followed(frame, grid)
        assert next_grid is not None
        grid = next_grid
    mine, anew = (score(frame, g.positions_px).rms_angstrom for g in (grid, found(frame)))
    assert mine < anew


def test_a_site_keeps_its_cell_index(field: Frame) -> None:
    before = found(frame_at(field, 0, 0, 1e4, 0))
    after = followed(frame_at(field, 3, 2, 1e4, 1), before)
    assert after is not None
    places = {
        (*i, s): p for i, s, p in zip(before.cell_index, before.sublattice, before.positions_px, strict=True)
    }
    both = [
        (p, places[(*i, s)])
        for i, s, p in zip(after.cell_index, after.sublattice, after.positions_px, strict=True)
        if (*i, s) in places
    ]
    assert len(both) > 0.95 * len(after)
    moved = np.array([p - q for p, q in both])
    assert np.abs(moved - [-3, -2]).max() < 1.0


def test_rows_that_come_in_are_followed(field: Frame) -> None:
    grid = found(frame_at(field, 0, 0, 1e4, 0, rows=120))
    for rows in (200, 320, 400, 160):
        frame = frame_at(field, 0, 0, 1e4, 0, rows=rows)
        next_grid = followed(frame, grid)
        assert next_grid is not None
        grid = next_grid
        told = score(frame, grid.positions_px, grid.sublattice)
        assert told.recall >= 0.999
        assert told.naming == 1.0


def turned(field: Frame, degrees: float, scale: float) -> NDArray[np.float32]:
    """The middle of the field, rotated and magnified."""
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    middle = np.array(field.image.shape) / 2
    smooth = ndimage.affine_transform(field.image, matrix, middle - matrix @ (SIDE / 2, SIDE / 2), (SIDE, SIDE))
    return np.random.default_rng(0).poisson(np.clip(smooth, 0, None) * 1e4 / 1e8).astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "scale"), [(0.3, 1.0), (2.0, 1.0), (5.0, 1.0), (30.0, 1.0), (0.0, 1.02), (0.0, 1.1), (0.0, 1.5)]
)
def test_another_rotation_or_magnification_is_followed_rightly_or_not_at_all(
    field: Frame, degrees: float, scale: float
) -> None:
    before = found(frame_at(field, 60, 60, 1e4, 0))
    image = turned(field, degrees, scale)
    anew = find_sites(image, WSE2, field.expected_ratio, 0.2 / scale)
    after = track_sites(image, before, WSE2, field.expected_ratio)
    assert (after is None) or len(after) == pytest.approx(len(anew), abs=0.005 * len(anew))
    if after is not None:
        distance, same = _nearest(anew, after)
        # A site at the very edge may be in one of the grids only.
        inside = ((after.positions_px > 3) & (after.positions_px < SIDE - 4)).all(axis=1)
        distance, same, names = distance[inside], same[inside], after.sublattice[inside]
        assert (distance < 0.3 / 0.2).mean() > 0.999
        assert (anew.sublattice[same] == names).mean() > 0.999
    if degrees >= 5 or scale >= 1.1:
        assert after is None


def _nearest(anew: SiteGrid, after: SiteGrid) -> tuple[NDArray, NDArray]:
    distance, same = cKDTree(anew.positions_px).query(after.positions_px)
    return distance, same


def test_what_shows_no_such_lattice_is_not_followed(field: Frame) -> None:
    before = found(frame_at(field, 0, 0, 1e4, 0))
    rng = np.random.default_rng(0)
    other = make_frame(FrameRecipe(shape=(SIDE, SIDE), seed=9))
    for image in (
        rng.poisson(5.0, (SIDE, SIDE)).astype(np.float32),
        np.zeros((SIDE, SIDE), np.float32),
        np.full((SIDE, SIDE), np.nan, np.float32),
        ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 4).astype(np.float32),
        -frame_at(field, 0, 0, 1e4, 1).image,
        frame_at(field, 0, 0, 1e4, 1).image[:, :300],
        frame_at(field, 0, 0, 1e4, 1).image[:40],
        other.image,
    ):
        assert track_sites(image, before, WSE2, field.expected_ratio) is None


def test_a_grid_that_no_frame_gave_cannot_be_followed(field: Frame) -> None:
    frame = frame_at(field, 0, 0, 1e4, 0)
    assert followed(frame, replace(found(frame), field=None)) is None
