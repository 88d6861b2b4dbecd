"""The renderer against a slow reference, and against what a sum of columns must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stemctx_core.errors import LibraryError
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.radial import PROFILE_RADII_ANGSTROM
from stemctx_core.simulation.render import (
    REACH_ANGSTROM,
    astigmatic_tables,
    count_electrons,
    render_columns,
    response_table,
    response_tables,
)

OPTICS = Optics(80, 30, 70, 200, 0.45)
COLUMNS = ("W", "Se+Se", "Se")


@pytest.fixture(scope="module")
def tables() -> NDArray[np.float32]:
    return response_tables(shipped_library(), COLUMNS, OPTICS)


def slow_render(
    shape: tuple[int, int],
    pixel: float,
    positions: NDArray[np.float64],
    index: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Every column on every pixel straight from its profile, with no table over r² and no blocks."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.zeros(shape)
    for (row, column), kind, factor in zip(positions, index, weight, strict=True):
        radius = pixel * np.hypot(y - row, x - column)
        profile = shipped_library().profile(COLUMNS[kind], 80, 70, 200, 0.45)
        share = np.clip(REACH_ANGSTROM - radius, 0, 1)
        image += factor * np.interp(radius, PROFILE_RADII_ANGSTROM, profile) * share**2 * (3 - 2 * share)
    return image


@pytest.mark.parametrize(("shape", "pixel"), [((64, 48), 0.25), ((37, 101), 0.1), ((20, 20), 0.6)])
def test_against_the_slow_reference(tables: NDArray[np.float32], shape: tuple[int, int], pixel: float) -> None:
    rng = np.random.default_rng(1)
    # Some columns stand outside the frame and reach into it.
    margin = 6 / pixel
    positions = rng.uniform(-margin, np.array(shape) + margin, (60, 2))
    index = rng.integers(0, len(COLUMNS), 60)
    weight = rng.uniform(0.5, 1.5, 60)
    fast = render_columns(shape, pixel, positions, index, tables, weight)
    slow = slow_render(shape, pixel, positions, index, weight)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, slow, atol=2e-3 * slow.max())


def test_the_order_of_columns_does_not_matter(tables: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(2)
    positions, index = rng.uniform(0, 100, (200, 2)), rng.integers(0, 3, 200)
    order = rng.permutation(200)
    np.testing.assert_allclose(
        render_columns((100, 100), 0.25, positions[order], index[order], tables),
        render_columns((100, 100), 0.25, positions, index, tables),
        rtol=1e-5,
        atol=1e-7,
    )


def test_total_is_the_sum_of_the_columns(tables: NDArray[np.float32]) -> None:
    pixel, size = 0.2, 200
    rng = np.random.default_rng(3)
    positions, index = rng.uniform(60, 140, (30, 2)), rng.integers(0, 3, 30)
    image = render_columns((size, size), pixel, positions, index, tables)
    radii = np.linspace(0, REACH_ANGSTROM, 20001)
    totals = [
        np.trapezoid(2 * np.pi * radii * np.interp(radii**2, np.arange(len(t)) * 0.02, t), radii)
        for t in tables
    ]
    assert image.sum(dtype=float) * pixel**2 == pytest.approx(sum(totals[i] for i in index), rel=2e-3)


def test_a_column_is_round(tables: NDArray[np.float32]) -> None:
    one = render_columns((41, 41), 0.2, np.array([[20.0, 20.0]]), np.array([0]), tables)
    for same in (one[::-1], one[:, ::-1], one.T):
        np.testing.assert_allclose(one, same, atol=1e-7)
    assert np.unravel_index(one.argmax(), one.shape) == (20, 20)
    assert one[20, 20] == pytest.approx(tables[0, 0], rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.1, 0.4))
def test_the_centre_of_mass_is_where_the_column_stands(dy: float, dx: float, pixel: float) -> None:
    tables = response_tables(shipped_library(), COLUMNS, OPTICS)
    size = 2 * int(6 / pixel) + 1
    at = np.array([[size // 2 + dy, size // 2 + dx]])
    image = render_columns((size, size), pixel, at, np.array([0]), tables).astype(float)
    y, x = np.mgrid[:size, :size]
    centre = np.array([(image * y).sum(), (image * x).sum()]) / image.sum()
    np.testing.assert_allclose(centre, at[0], atol=0.02)


def test_moving_the_frame_moves_the_picture(tables: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(4)
    positions, index = rng.uniform(0, 120, (80, 2)), rng.integers(0, 3, 80)
    here = render_columns((120, 120), 0.25, positions, index, tables)
    there = render_columns((120, 120), 0.25, positions - [7, 11], index, tables)
    np.testing.assert_allclose(here[7:, 11:], there[:-7, :-11], atol=1e-6)


def test_table_ends_at_nothing() -> None:
    table = response_table(np.ones_like(PROFILE_RADII_ANGSTROM))
    assert table[0] == 1
    assert table[-1] == 0
    assert (np.diff(table) <= 0).all()


def test_what_the_fade_cuts_off_is_small(tables: NDArray[np.float32]) -> None:
    profile = shipped_library().profile("W", 80, 70, 200, 0.45)
    assert profile[PROFILE_RADII_ANGSTROM > REACH_ANGSTROM - 1].max() < 0.01 * profile[0]


def test_no_columns_no_signal(tables: NDArray[np.float32]) -> None:
    assert not render_columns((8, 8), 0.25, np.zeros((0, 2)), np.zeros(0, int), tables).any()


def test_optics_outside_the_library_are_refused() -> None:
    with pytest.raises(LibraryError):
        response_tables(shipped_library(), COLUMNS, Optics(80, 30, 20, 200, 0.45))


def test_an_astigmatic_column_is_longest_along_its_azimuth() -> None:
    azimuth = 0.5
    optics = Optics(80, 30, 70, 200, 0.45, 3, 2, azimuth)
    tables = response_tables(shipped_library(), ("W",), optics)
    turning = astigmatic_tables(shipped_library(), ("W",), optics)
    assert turning is not None
    at, one = np.array([[40.0, 40.0]]), np.array([0])
    image = render_columns((81, 81), 0.1, at, one, tables, None, turning, azimuth)
    plain = render_columns((81, 81), 0.1, at, one, tables)
    assert image[40, 40] == plain[40, 40]
    assert image.sum(dtype=float) == pytest.approx(plain.sum(dtype=float), rel=1e-4)
    y, x = np.mgrid[-40:41, -40:41]
    near = image * (np.hypot(y, x) < 15)
    along = np.arctan2(2 * (near * x * y).sum(), (near * (x * x - y * y)).sum()) / 2
    assert along == pytest.approx(azimuth, abs=0.01)
    # The same picture as from the two profiles.
    r, angle = 0.1 * np.hypot(y, x), np.arctan2(y, x)
    response = shipped_library().response("W", optics)
    part = shipped_library().astigmatic("W", optics)
    assert part is not None
    slow = np.interp(r, PROFILE_RADII_ANGSTROM, response) + np.cos(2 * (angle - azimuth)) * np.interp(
        r, PROFILE_RADII_ANGSTROM, part
    )
    inside = r < 3.9
    np.testing.assert_allclose(image[inside], slow[inside], atol=2e-3 * slow.max())


def test_without_astigmatism_nothing_turns() -> None:
    assert astigmatic_tables(shipped_library(), COLUMNS, OPTICS) is None


def test_counts_follow_the_dose() -> None:
    fraction = np.full((200, 200), 0.02, np.float32)
    counts = count_electrons(fraction, 1e4, 0.25, np.random.default_rng(5))
    expected = 0.02 * 1e4 * 0.25**2
    assert counts.mean() == pytest.approx(expected, rel=0.01)
    assert counts.var() == pytest.approx(expected, rel=0.05)
    assert (counts == np.round(counts)).all()
