"""Site grids of frames that are dark, strained, dirty, small, or of an unknown pixel size; and how long they take."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.chemistry.classes import Role
from stemctx_core.lattice import find_sites
from stemctx_core.simulation.optics import Optics
from tests.core.frames import HAADF, MAADF, FrameRecipe, make_frame, score
from tests.core.lattice.found import WSE2, sites_of


@pytest.mark.parametrize(
    ("name", "recipe", "least"),
    [
        ("dose 1e3", FrameRecipe(dose_e_per_angstrom2=1e3), 0.999),
        ("dose 3e2", FrameRecipe(dose_e_per_angstrom2=3e2), 0.999),
        ("fine pixels", FrameRecipe(pixel_size_angstrom=0.12), 0.999),
        ("coarse pixels", FrameRecipe(pixel_size_angstrom=0.35), 0.999),
        ("coarsest pixels", FrameRecipe(pixel_size_angstrom=0.4), 0.999),
        ("finest pixels", FrameRecipe(pixel_size_angstrom=0.1), 0.999),
        ("strain", FrameRecipe(pixel_size_angstrom=0.12, shear=0.03, warp_angstrom=1.0), 0.999),
        ("warp of 6 to 9 %", FrameRecipe(shape=(1024, 1024), shear=0.03, warp_angstrom=2.0), 0.999),
        ("contamination", FrameRecipe(contamination=1.0, dose_e_per_angstrom2=1e3), 0.999),
        ("tall", FrameRecipe(shape=(700, 300)), 0.999),
        ("wide", FrameRecipe(shape=(300, 700)), 0.999),
        ("six rows", FrameRecipe(shape=(80, 512)), 0.999),
        ("six rows at 1e3", FrameRecipe(shape=(80, 512), dose_e_per_angstrom2=1e3), 0.995),
        ("small", FrameRecipe(shape=(100, 100)), 0.99),
        ("blurred", FrameRecipe(optics=replace(HAADF, sigma_angstrom=0.6)), 0.999),
        ("many vacancies", FrameRecipe(prevalence={Role.CHALCOGEN_VACANCY: 0.1, Role.CHALCOGEN_DIVACANCY: 0.05}), 0.999),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_harder_frames(name: str, recipe: FrameRecipe, least: float) -> None:
    scores = []
    for seed in range(3):
        frame = make_frame(replace(recipe, seed=seed))
        grid = sites_of(frame)
        scores.append(score(frame, grid.positions_px, grid.sublattice))
    print(
        f"\n{name}: recall {min(s.recall for s in scores):.4f}, vacant {min(s.vacant_recall for s in scores):.3f}, "
        f"rms {np.mean([s.rms_angstrom for s in scores]):.3f} Å"
    )
    assert min(s.recall for s in scores) >= least
    assert min(s.vacant_recall for s in scores) >= 0.99
    assert min(s.precision for s in scores) >= least
    assert min(s.naming for s in scores) == 1.0


def test_contaminated_warped_low_dose_frame_degrades_gently() -> None:
    """Beyond what is promised: 6 to 9 % strain under blobs as bright as the atoms, at 1e3 e/Å²."""
    frame = make_frame(
        FrameRecipe(
            shape=(1024, 1024),
            shear=0.03,
            warp_angstrom=2.0,
            contamination=1.0,
            dose_e_per_angstrom2=1e3,
            seed=3,
        )
    )
    grid = sites_of(frame)
    assert score(frame, grid.positions_px, grid.sublattice).recall > 0.99


@pytest.mark.parametrize("host", ["WSe2", "MoTe2"])
@pytest.mark.parametrize("factor", [0.7, 0.8, 1.3, None])
@pytest.mark.parametrize("optics", [HAADF, MAADF], ids=["haadf", "maadf"])
def test_wrong_or_no_pixel_size(host: str, factor: float | None, optics: Optics) -> None:
    """WSe2 at 50-120 mrad has second-order peaks stronger than the first: they must not be taken."""
    for px in (0.12, 0.2, 0.35):
        frame = make_frame(FrameRecipe(host=host, optics=optics, pixel_size_angstrom=px, seed=7))
        grid = sites_of(frame, host, hint=None if factor is None else factor * px)
        assert grid.pixel_size_angstrom == pytest.approx(px, rel=0.03)
        found = score(frame, grid.positions_px, grid.sublattice)
        assert (found.recall, found.naming) == (1.0, 1.0)


def test_second_order_peaks_of_a_sharp_source() -> None:
    """A sharp source makes the second order of like sublattices the strongest of all."""
    frame = make_frame(FrameRecipe(optics=replace(MAADF, sigma_angstrom=0.25), dose_e_per_angstrom2=1e5))
    for hint in (0.2, 0.2 * np.sqrt(3), 0.14, None):
        grid = sites_of(frame, hint=hint)
        assert grid.pixel_size_angstrom == pytest.approx(0.2, rel=0.03)
        assert score(frame, grid.positions_px, grid.sublattice).recall == 1.0


def test_a_hint_in_the_wrong_unit_still_finds_the_lattice() -> None:
    """Nanometres for ångströms: the lattice says what the pixel is, the caller what to do about it."""
    frame = make_frame(FrameRecipe())
    assert sites_of(frame, hint=0.02).pixel_size_angstrom == pytest.approx(0.2, rel=0.03)


def test_a_hole_has_no_coherence() -> None:
    frame = make_frame(FrameRecipe(seed=2))
    y, x = np.mgrid[:512, :512]
    hole = np.hypot(y - 250, x - 300) < 110
    image = np.where(hole, np.random.default_rng(0).poisson(0.5, hole.shape), frame.image)
    grid = find_sites(image, WSE2, frame.expected_ratio, 0.2)
    distance = np.hypot(*(grid.positions_px - [250, 300]).T)
    assert grid.coherence[distance < 60].max() < 0.4
    assert grid.coherence[distance > 180].min() > 0.5
    outside = replace(
        frame,
        positions_px=frame.positions_px[np.hypot(*(frame.positions_px - [250, 300]).T) > 140],
        role=frame.role[np.hypot(*(frame.positions_px - [250, 300]).T) > 140],
        sublattice=frame.sublattice[np.hypot(*(frame.positions_px - [250, 300]).T) > 140],
    )
    assert score(outside, grid.positions_px, grid.sublattice).recall >= 0.999


def test_a_hot_pixel_does_no_harm() -> None:
    frame = make_frame(FrameRecipe(seed=4))
    image = frame.image.copy()
    image[100, 200] = 1e6
    image[300, 10:14] = 1e30
    grid = find_sites(image, WSE2, frame.expected_ratio, 0.2)
    assert score(frame, grid.positions_px, grid.sublattice).recall == 1.0


def test_time() -> None:
    """Processor time, which a busy machine hardly disturbs; the aim is 0.15 and 0.5 s."""
    for shape, limit in (((512, 512), 0.6), ((1024, 1024), 2.0)):
        frame = make_frame(FrameRecipe(shape=shape))
        taken = []
        for _ in range(3):
            start = time.process_time()
            sites_of(frame)
            taken.append(time.process_time() - start)
        print(f"\n{shape}: {min(taken):.3f} s")
        assert min(taken) < limit
