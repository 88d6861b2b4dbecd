"""The site grid: every site found, vacant ones too, and the sublattices told apart."""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError, LatticeError
from stemctx_core.lattice import SiteGrid, find_sites
from stemctx_core.simulation.optics import Optics
from tests.core.frames import HAADF, MAADF, Frame, FrameRecipe, expected_ratio, make_frame, score

WSE2 = materials.host("WSe2")
LAADF = Optics(80.0, 30.0, 35.0, 70.0, 0.40)


def sites_of(
    frame: Frame, host: str = "WSe2", *, ratio: float | None = None, hint: float | None = -1.0
) -> SiteGrid:
    """Find the sites with the true ratio and pixel size, where no other is given."""
    return find_sites(
        frame.image,
        materials.host(host),
        frame.expected_ratio if ratio is None else ratio,
        frame.pixel_size_angstrom if hint == -1.0 else hint,
    )


def refusal(image: NDArray, hint: float | None = 0.2, host: str = "WSe2") -> LatticeError:
    with pytest.raises(LatticeError) as caught:
        find_sites(image, materials.host(host), 0.78, hint)
    assert caught.value.reason
    assert caught.value.fix
    return caught.value


# --- what the project promises


def test_twelve_random_rotations_at_1e4() -> None:
    scores = []
    for seed in range(12):
        frame = make_frame(FrameRecipe(seed=seed))
        grid = sites_of(frame)
        scores.append(score(frame, grid.positions_px, grid.sublattice))
    worst = {
        name: min(getattr(s, name) for s in scores)
        for name in ("recall", "vacant_recall", "precision", "naming")
    }
    rms = float(np.mean([s.rms_angstrom for s in scores]))
    print(f"\nsite grid, 12 rotations, WSe2 80 kV HAADF, 1e4 e/Å², worst of 12: {worst}, mean rms {rms:.3f} Å")
    assert worst["recall"] >= 0.999
    assert worst["vacant_recall"] >= 0.99
    assert worst["precision"] >= 0.999
    assert worst["naming"] == 1.0
    assert rms < 0.06


def test_local_maxima_miss_the_vacant_sites() -> None:
    """The obvious alternative, on the same frames: it cannot see a site without an atom."""
    grids, maxima = [], []
    for seed in range(3):
        frame = make_frame(FrameRecipe(seed=seed))
        smooth = ndimage.gaussian_filter(frame.image, 0.45 / frame.pixel_size_angstrom)
        peaks = peak_local_max(smooth, min_distance=3, threshold_abs=float(np.percentile(smooth, 40)))
        maxima.append(score(frame, peaks.astype(float)))
        grids.append(score(frame, sites_of(frame).positions_px))
    print(
        f"\nvacant-site recall: grid {[s.vacant_recall for s in grids]}, local maxima "
        f"{[round(s.vacant_recall, 2) for s in maxima]} (recall of all {[round(s.recall, 3) for s in maxima]})"
    )
    assert all(s.recall > 0.8 for s in maxima), "the alternative is a fair one"
    assert max(s.vacant_recall for s in maxima) < 0.6
    assert min(s.vacant_recall for s in grids) >= 0.99


# --- naming


@pytest.mark.parametrize("optics", [HAADF, MAADF, LAADF], ids=["haadf", "maadf", "laadf"])
@pytest.mark.parametrize("host", ["MoS2", "MoSe2", "MoTe2", "WS2", "WTe2"])
def test_sublattices_are_named_from_the_ratio(host: str, optics: Optics) -> None:
    for seed in range(2):
        frame = make_frame(FrameRecipe(host=host, optics=optics, seed=seed))
        grid = sites_of(frame, host)
        found = score(frame, grid.positions_px, grid.sublattice)
        assert (found.recall, found.naming) == (1.0, 1.0)
        ratio = expected_ratio(host, optics)
        assert grid.naming.startswith("ratio" if abs(np.log(ratio)) > 0.3 else ("ratio", "columns"))


@pytest.mark.parametrize("wrong_by", [0.85, 1.0, 1.15])
def test_columns_decide_where_the_ratio_cannot(wrong_by: float) -> None:
    """WSe2 at 50-120 mrad shows both sublattices alike: only X has columns of half the intensity."""
    for seed in range(6):
        frame = make_frame(FrameRecipe(optics=MAADF, seed=seed))
        # 1.03 and not 0.96 since pairs of atoms stand as far apart in the library as they do in the crystal.
        assert frame.expected_ratio == pytest.approx(1.03, abs=0.02)
        grid = sites_of(frame, ratio=frame.expected_ratio * wrong_by)
        assert grid.naming.startswith("columns")
        assert score(frame, grid.positions_px, grid.sublattice).naming == 1.0


@pytest.mark.parametrize("wrong_by", [0.85, 1.15])
def test_a_ratio_15_percent_off_still_names(wrong_by: float) -> None:
    for host in ("WSe2", "MoSe2", "WTe2", "MoS2"):
        frame = make_frame(FrameRecipe(host=host, seed=3))
        grid = sites_of(frame, host, ratio=frame.expected_ratio * wrong_by)
        assert score(frame, grid.positions_px, grid.sublattice).naming == 1.0, host


def test_a_frame_that_cannot_tell_says_so() -> None:
    """Both sublattices alike and no vacancy: named by the ratio, and called ambiguous."""
    recipe = FrameRecipe(optics=MAADF, prevalence={Role.DOPANT: 0.0})
    grid = sites_of(make_frame(recipe))
    assert grid.naming.startswith("ambiguous")


def test_swapped_is_the_other_naming_of_the_same_sites() -> None:
    grid = sites_of(make_frame(FrameRecipe(shear=0.0, warp_angstrom=0.0)))
    other = grid.swapped()
    assert np.array_equal(other.positions_px, grid.positions_px)
    assert np.array_equal(other.sublattice, 1 - grid.sublattice)
    assert np.allclose(other.bond_px, -grid.bond_px)
    assert np.array_equal(other.swapped().sublattice, grid.sublattice)
    for named in (grid, other):
        _assert_indices_place_the_sites(named)


# --- geometry


def _assert_indices_place_the_sites(grid: SiteGrid, within_px: float = 1.0) -> None:
    """Position = origin + index · basis (+ bond on the chalcogen), and each site has an index of its own."""
    ideal = grid.cell_index @ grid.basis_px + (grid.sublattice == 1)[:, None] * grid.bond_px
    residual = grid.positions_px - ideal
    assert np.abs(residual - np.median(residual, axis=0)).max() < within_px
    keys = np.column_stack([grid.cell_index, grid.sublattice])
    assert len(np.unique(keys, axis=0)) == len(grid)


@pytest.mark.parametrize("seed", range(6))
def test_basis_bond_and_pixel_size(seed: int) -> None:
    frame = make_frame(FrameRecipe(seed=seed, shear=0.0, warp_angstrom=0.0))
    grid = sites_of(frame)
    a1, a2 = grid.basis_px
    a_px = WSE2.a_angstrom / frame.pixel_size_angstrom
    assert np.hypot(*a1) == pytest.approx(a_px, rel=3e-3)
    assert np.hypot(*a2) == pytest.approx(a_px, rel=3e-3)
    angle = np.degrees(np.arctan2(a2[0], a2[1]) - np.arctan2(a1[0], a1[1])) % 360
    assert angle == pytest.approx(60, abs=0.3)
    assert abs(np.degrees(np.arctan2(a1[0], a1[1]))) <= 30.5
    assert np.hypot(*grid.bond_px) == pytest.approx(a_px / np.sqrt(3), rel=3e-3)
    assert grid.pixel_size_angstrom == pytest.approx(frame.pixel_size_angstrom, rel=2e-3)
    _assert_indices_place_the_sites(grid)


def test_every_bond_of_the_grid_is_one() -> None:
    """Each metal well inside the frame has a chalcogen one bond away, warp or not."""
    grid = sites_of(make_frame(FrameRecipe(seed=5)))
    metal, chalcogen = (grid.positions_px[grid.sublattice == k] for k in (0, 1))
    inside = ((metal > 20) & (metal < 491)).all(axis=1)
    distance, _ = cKDTree(chalcogen).query(metal[inside] + grid.bond_px)
    assert distance.max() * 0.2 < 0.4


def test_types_and_the_edge() -> None:
    frame = make_frame(FrameRecipe(shape=(300, 420)))
    grid = sites_of(frame)
    assert grid.positions_px.dtype == np.float64
    assert (grid.sublattice.dtype, grid.cell_index.dtype) == (np.int8, np.int32)
    assert grid.positions_px.min() >= 0.5
    assert (grid.positions_px <= np.array([299, 419]) - 0.5).all()
    everywhere = score(frame, grid.positions_px, margin_angstrom=0.5)
    assert everywhere.recall >= 0.999


def test_the_frame_is_left_as_it_was() -> None:
    frame = make_frame(FrameRecipe(shape=(256, 256)))
    before = frame.image.copy()
    first, second = sites_of(frame), sites_of(frame)
    assert np.array_equal(frame.image, before)
    assert np.array_equal(first.positions_px, second.positions_px)


@pytest.mark.parametrize("seed", range(3))
def test_offset_scale_and_type_do_not_matter(seed: int) -> None:
    frame = make_frame(FrameRecipe(shape=(256, 256), seed=seed))
    plain = sites_of(frame)
    for image in (
        frame.image * 3e4 + 5e6,
        frame.image.astype(np.uint8),
        frame.image.astype(np.float64) * 1e-9,
        np.asfortranarray(frame.image),
    ):
        grid = find_sites(image, WSE2, frame.expected_ratio, 0.2)
        assert np.abs(grid.positions_px - plain.positions_px).max() < 0.01


# --- harder frames


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


# --- refusals


def _amorphous(seed: int, grain_px: float) -> NDArray:
    rng = np.random.default_rng(seed)
    film = ndimage.gaussian_filter(rng.normal(size=(512, 512)), grain_px)
    return rng.poisson(20 * np.exp(film / film.std() * 0.3)).astype(np.float32)


@pytest.mark.parametrize("hint", [0.2, None])
@pytest.mark.parametrize("seed", range(3))
def test_noise_and_amorphous_films_are_refused(seed: int, hint: float | None) -> None:
    rng = np.random.default_rng(seed)
    assert refusal(rng.poisson(3.0, (512, 512)), hint).code == "no_lattice"
    assert refusal(rng.normal(size=(90, 512)), hint).code == "no_lattice"
    for grain_px in (1.5, 3.0, 6.0):
        assert refusal(_amorphous(seed, grain_px), hint).code == "no_lattice"


@pytest.mark.parametrize("seed", range(3))
def test_scattered_atoms_are_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = np.zeros((512, 512))
    atoms[tuple(rng.integers(0, 512, (2, 400)))] = 200.0
    image = rng.poisson(ndimage.gaussian_filter(atoms, 2.5) + 2)
    assert refusal(image).code == "no_lattice"
    assert refusal(image, None).code == "no_lattice"


@pytest.mark.parametrize("image", [np.zeros((256, 256)), np.full((256, 256), 7, np.uint8)])
def test_a_constant_frame_is_refused(image: NDArray) -> None:
    assert refusal(image).code == "no_lattice"


def test_a_grating_is_refused() -> None:
    """One direction of fringes, and a square lattice, are no hexagon."""
    y, x = np.mgrid[:400, :400] * 2 * np.pi / 14.4
    rng = np.random.default_rng(0)
    assert refusal(rng.poisson(5 + 3 * np.sin(x))).code == "no_lattice"
    assert refusal(rng.poisson(8 + 3 * np.sin(x) + 3 * np.sin(y))).code == "no_lattice"


@pytest.mark.parametrize("host", ["MoS2", "MoSe2", "MoTe2", "WS2", "WSe2", "WTe2"])
def test_dark_columns_are_refused(host: str) -> None:
    """Inverted contrast of every host, one dominant sublattice or two alike; the right way round all pass above."""
    for optics in (HAADF, MAADF):
        frame = make_frame(FrameRecipe(host=host, optics=optics, seed=1))
        error = refusal(frame.image.max() - frame.image, host=host)
        assert error.code == "contrast"
        assert "dark-field" in error.fix


def test_too_few_rows_are_refused() -> None:
    frame = make_frame(FrameRecipe(shape=(512, 512)))
    assert refusal(frame.image[:50]).code == "too_small"
    assert refusal(frame.image[:8]).code == "too_small"
    assert refusal(frame.image[:50], None).code in {"too_small", "no_lattice"}
    assert refusal(np.zeros((0, 512))).code == "too_small"


def test_nan_and_infinity_are_refused() -> None:
    frame = make_frame(FrameRecipe(shape=(128, 128)))
    for bad in (np.nan, np.inf):
        image = frame.image.copy()
        image[100:] = bad
        error = refusal(image)
        assert error.code == "not_finite"
        assert str(28 * 128) in error.reason


def test_what_is_no_frame_is_an_input_error() -> None:
    good = np.zeros((64, 64))
    for image in (np.zeros((3, 64, 64)), np.zeros(64), good.astype(complex)):
        with pytest.raises(InputError, match="two-dimensional"):
            find_sites(image, WSE2, 0.8, 0.2)
    for ratio, pixel in ((0.0, 0.2), (np.nan, 0.2), (0.8, 0.0), (0.8, -1.0), (0.8, np.nan)):
        with pytest.raises(InputError, match="positive"):
            find_sites(good, WSE2, ratio, pixel)


# --- real micrographs


def _labels(folder: Path) -> tuple[NDArray, NDArray, NDArray]:
    """Positions (y, x), whether chalcogen, whether vacancy."""
    with (folder / "TiWSe2_1028_2_labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = np.array([row["class_name"] for row in rows])
    positions = np.array([[float(row["y"]), float(row["x"])] for row in rows])
    return positions, np.isin(names, ["Se2", "V_Se"]), names == "V_Se"


@pytest.mark.real
@pytest.mark.parametrize("hint", [0.3988, 0.28, 0.5, None])
@pytest.mark.parametrize(("detector", "ratio"), [("ADF1", 0.9), ("ADF2", 1.5)])
def test_real_doped_wse2(real_data: Path, detector: str, ratio: float, hint: float | None) -> None:
    image = tifffile.imread(real_data / f"TiWSe2_1028_2_{detector}.tif")
    positions, is_chalcogen, is_vacancy = _labels(real_data)
    grid = find_sites(image, WSE2, ratio, hint)
    distance, nearest = cKDTree(grid.positions_px).query(positions)
    found = distance * grid.pixel_size_angstrom < 0.8
    named = (grid.sublattice[nearest] == is_chalcogen)[found]
    rms = np.sqrt(np.mean((distance[found] * grid.pixel_size_angstrom) ** 2))
    print(
        f"\n{detector}, hint {hint}: recall {found.mean():.4f} of {len(found)}, vacancies {found[is_vacancy].mean():.3f}, "
        f"naming {named.mean():.4f} ({grid.naming}), rms {rms:.3f} Å, {grid.pixel_size_angstrom:.4f} Å/px"
    )
    assert found.mean() >= 0.999
    assert found[is_vacancy].all()
    assert named.all()
    # 0.3824 Å in the frame's notes is for a = 3.282 Å; our host has 3.32 Å.
    assert grid.pixel_size_angstrom == pytest.approx(0.3824 * 3.32 / 3.282, rel=5e-3)


@pytest.mark.real
@pytest.mark.parametrize("hint", [0.127, None])
def test_real_mos2_with_hole_and_contamination(real_data: Path, hint: float | None) -> None:
    image = tifffile.imread(real_data / "Se_implanted_MoS2_60kV_HAADF.tif")
    grid = find_sites(image, materials.host("MoS2"), 0.4, hint)
    assert grid.pixel_size_angstrom == pytest.approx(0.134 * 3.19 / 3.16, rel=0.01)
    assert grid.naming.startswith("ratio")


@pytest.mark.real
def test_real_mose2_positions(real_data: Path) -> None:
    image = np.load(real_data / "MoSe2_40keV_motif.npy", allow_pickle=False)
    positions = np.load(real_data / "MoSe2_40keV_motif_pts.npy", allow_pickle=False)[:, ::-1]
    grid = find_sites(image, materials.host("MoSe2"), 1.5, 0.15)
    distance, _ = cKDTree(grid.positions_px).query(positions)
    assert (distance * grid.pixel_size_angstrom < 0.8).mean() > 0.99


@pytest.mark.real
def test_real_grain_boundary(real_data: Path) -> None:
    """Two lattices in one frame: the larger is followed, and the sites on the other say that they are not seen."""
    image = tifffile.imread(real_data / "MoSe2_mono_grain_boundary_f32.tif")
    grid = find_sites(image, materials.host("MoSe2"), 1.5, 0.157)
    assert grid.pixel_size_angstrom == pytest.approx(0.157, rel=0.05)


@pytest.mark.real
@pytest.mark.parametrize("hint", [0.157, 0.3, None])
def test_real_atoms_on_carbon_are_refused(real_data: Path, hint: float | None) -> None:
    image = tifffile.imread(real_data / "OOD_Re_single_atoms_u8.tif")
    assert refusal(image, hint, "MoSe2").code == "no_lattice"
