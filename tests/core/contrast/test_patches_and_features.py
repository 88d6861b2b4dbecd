"""Patches are the same whatever the rotation and pixel size of the frame; features are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast import cutting
from stemctx_core.contrast.cutting import FrameRoom, cut_discs, extract_patches
from stemctx_core.contrast.features import FEATURES, features_of, level, projection
from stemctx_core.contrast.neighbourhood import column_geometry, neighbourhood
from stemctx_core.contrast.patches import (
    HALF_WIDTH,
    PITCH,
    SAMPLES,
    inside_disc,
    lattice_to_pixels,
    sample_offsets,
    whole_patches,
)
from stemctx_core.lattice import SiteGrid
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import render_columns, response_tables

WSE2 = materials.host("WSe2")
OPTICS = Optics(80.0, 30.0, 70.0, 200.0, 0.45)


def crystal(angle_deg: float, pixel_size_angstrom: float, side_angstrom: float = 60.0):
    """A perfect WSe2 frame without noise, and its exact grid."""
    angle, a = np.radians(angle_deg), WSE2.a_angstrom
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a1 = rotation @ np.array([np.sqrt(3) / 2, -0.5]) * a
    a2 = rotation @ np.array([np.sqrt(3) / 2, 0.5]) * a
    bond = (a1 + a2) / 3
    count = int(side_angstrom / a) + 6
    i, j = (k.ravel() for k in np.meshgrid(np.arange(-count, count), np.arange(-count, count), indexing="ij"))
    metal = i[:, None] * a1 + j[:, None] * a2 + side_angstrom / 2
    positions = np.concatenate([metal, metal + bond])
    sublattice = np.repeat(np.array([0, 1], np.int8), len(metal))
    cells = np.tile(np.stack([i, j], axis=1), (2, 1)).astype(np.int32)
    near = np.all((positions > -6) & (positions < side_angstrom + 6), axis=1)
    positions, sublattice, cells = positions[near] / pixel_size_angstrom, sublattice[near], cells[near]
    pixels = round(side_angstrom / pixel_size_angstrom)
    tables = response_tables(shipped_library(), ("W", "Se+Se"), OPTICS)
    image = render_columns((pixels, pixels), pixel_size_angstrom, positions, sublattice, tables)
    inside = np.all((positions >= 0) & (positions <= pixels - 1), axis=1)
    grid = SiteGrid(
        positions_px=positions[inside],
        sublattice=sublattice[inside],
        cell_index=cells[inside],
        basis_px=np.stack([a1, a2]) / pixel_size_angstrom,
        bond_px=bond / pixel_size_angstrom,
        pixel_size_angstrom=pixel_size_angstrom,
        naming="ratio",
        coherence=np.ones(inside.sum(), np.float32),
    )
    return image, grid


def predicted_patch(centre: Sublattice) -> np.ndarray:
    tables = response_tables(shipped_library(), ("W", "Se+Se"), OPTICS)
    geometry, near = column_geometry(centre, WSE2.a_angstrom), neighbourhood(centre)
    metal, chalcogen = np.flatnonzero(near.on_metal), np.flatnonzero(~near.on_metal)
    return geometry.patches(tables[0], metal).sum(0) + geometry.patches(tables[1], chalcogen).sum(0)


@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 43.0, 118.0, 200.0])
@pytest.mark.parametrize("pixel_size_angstrom", [0.1, 0.2, 0.35])
def test_patch_of_a_perfect_crystal_is_the_predicted_one(angle_deg: float, pixel_size_angstrom: float) -> None:
    image, grid = crystal(angle_deg, pixel_size_angstrom)
    patches = extract_patches(image, grid)
    disc = np.linalg.norm(sample_offsets(), axis=1) < HALF_WIDTH
    for code, centre in enumerate(Sublattice):
        mean = patches[whole_patches(image.shape, grid) & (grid.sublattice == code)].mean(axis=0)
        expected = predicted_patch(centre)
        # Box averaging blurs by (pixel² + pitch²) / 12, which calibration takes for source size.
        assert np.abs(mean - expected)[disc].max() < 0.075 * np.ptp(expected)
        assert np.corrcoef(mean[disc], expected[disc])[0, 1] > 0.999


def test_lattice_frame_points_from_metal_to_chalcogen() -> None:
    _, grid = crystal(33.0, 0.2)
    matrix = lattice_to_pixels(grid)
    np.testing.assert_allclose(matrix @ (1 / np.sqrt(3), 0.0), grid.bond_px, rtol=1e-9)
    assert np.sqrt(abs(np.linalg.det(matrix))) * 0.2 == pytest.approx(WSE2.a_angstrom)


def test_every_electron_counts_once_in_a_flat_noisy_frame() -> None:
    """The mean over a patch has the variance that the electrons in its area give, at fine and coarse pixels."""
    for pixel_size_angstrom in (0.1, 0.2, 0.35):
        _, grid = crystal(20.0, pixel_size_angstrom, 90.0)
        pixels = round(90.0 / pixel_size_angstrom)
        rng = np.random.default_rng(3)
        noise = rng.normal(0, 1 / pixel_size_angstrom, (pixels, pixels))  # white: variance 1 per Å²
        patches = extract_patches(noise, grid)
        disc = np.linalg.norm(sample_offsets(), axis=1) < 0.8 * HALF_WIDTH
        means = patches[whole_patches(noise.shape, grid)][:, disc].mean(axis=1)
        area = disc.sum() * (PITCH * WSE2.a_angstrom) ** 2
        assert means.var() * area == pytest.approx(1.0, rel=0.25)


def test_sites_at_the_border_are_not_whole() -> None:
    image, grid = crystal(10.0, 0.2)
    whole = whole_patches(image.shape, grid)
    room = HALF_WIDTH * WSE2.a_angstrom / 0.2
    to_border = np.minimum(grid.positions_px, np.array(image.shape) - 1 - grid.positions_px).min(axis=1)
    assert not whole[to_border < room - 1].any()
    assert whole[to_border > room + 2].all()


def test_features_of_a_constant_are_its_level() -> None:
    np.testing.assert_allclose(projection() @ np.full(SAMPLES, 3.0), 3.0 * level(), atol=0.02)
    assert projection().shape == (FEATURES, SAMPLES)
    assert FEATURES == 36


def test_features_do_not_see_the_corners() -> None:
    corner = np.linalg.norm(sample_offsets(), axis=1) > HALF_WIDTH
    assert corner.any()
    assert not projection()[:, corner].any()


@pytest.mark.parametrize("pixel_size_angstrom", [0.04, 0.1, 0.2, 0.35, 1.0])
def test_patches_are_exact_means_over_boxes(pixel_size_angstrom: float) -> None:
    """Against a summed-area table in double precision, in the middle and at the border, whatever the pixel size."""
    _, grid = crystal(17.0, pixel_size_angstrom, 30.0 if pixel_size_angstrom < 0.1 else 60.0)
    side = round((30.0 if pixel_size_angstrom < 0.1 else 60.0) / pixel_size_angstrom)
    image = np.random.default_rng(0).poisson(20.0, (side, side))
    chosen = np.arange(len(grid)) % 5 == 0
    matrix = lattice_to_pixels(grid)
    pitch_px = PITCH * np.sqrt(abs(np.linalg.det(matrix)))
    places = grid.positions_px[chosen][:, None] + sample_offsets() @ matrix.T + 0.5
    low, high = (np.clip(places + half * pitch_px, 0, side) for half in (-0.5, 0.5))
    table = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0))).astype(float)
    total = sum(
        sign * map_coordinates(table, np.moveaxis(corner, -1, 0), order=1)
        for sign, corner in (
            (1, high),
            (-1, np.stack([low[..., 0], high[..., 1]], axis=-1)),
            (-1, np.stack([high[..., 0], low[..., 1]], axis=-1)),
            (1, low),
        )
    )
    area = np.prod(high - low, axis=-1)
    whole_boxes = (area > 0.5 * pitch_px**2) & inside_disc()
    assert 0.3 < whole_boxes.mean() <= 1.0
    patches = extract_patches(image, grid, chosen)
    expected = np.divide(total, area, where=area > 0, out=np.zeros_like(total))
    assert np.abs(patches - expected)[whole_boxes].max() < 2e-3
    assert np.isfinite(patches).all()
    assert not patches[:, ~inside_disc()].any()


def test_room_for_patches_is_used_again() -> None:
    image, grid = crystal(17.0, 0.2)
    room = FrameRoom()
    first = cut_discs(image, grid, None, room)
    again = cut_discs(image, grid, np.arange(len(grid)) < 50, room)
    assert np.shares_memory(first, again)
    np.testing.assert_array_equal(again, cut_discs(image, grid)[:50])


def test_features_of_discs_are_those_of_their_patches() -> None:
    image, grid = crystal(17.0, 0.2)
    chosen = whole_patches(image.shape, grid)
    features = extract_patches(image, grid, chosen) @ projection().T
    np.testing.assert_allclose(features_of(cut_discs(image, grid, chosen)), features, atol=1e-5 * image.max())


@pytest.mark.parametrize("pixel_size_angstrom", [0.05, 0.2, 0.3])
def test_discs_are_the_same_whatever_part_of_the_frame_is_worked_on_at_a_time(
    pixel_size_angstrom: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, grid = crystal(17.0, pixel_size_angstrom)
    at_once = cut_discs(image, grid)
    monkeypatch.setattr(cutting, "_KNOTS", 1)
    # Places near a site are rounded to single precision from another origin in each band.
    np.testing.assert_allclose(cut_discs(image, grid), at_once, atol=1e-4 * np.ptp(image))
