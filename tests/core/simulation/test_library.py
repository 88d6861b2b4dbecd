"""The response library: what it holds, what it refuses, and that it cannot be damaged unnoticed."""

import json
import re
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from stemctx_core.chemistry import columns
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.radial import PROFILE_RADII_ANGSTROM, blur, blur_matrix, rayleigh_weights
from stemctx_core.simulation.storage import pack, unpack, write_library

MAADF = (50.0, 120.0)
HAADF = (70.0, 200.0)


@pytest.fixture(scope="module")
def library() -> ResponseLibrary:
    return shipped_library()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped files in a folder where they can be spoilt."""
    bundles = resources.files("stemctx_core") / "bundles"
    for name in ("responses.npz", "responses.json"):
        shutil.copy(str(bundles / name), tmp_path / name)
    return tmp_path / "responses.npz"


def _peak(library: ResponseLibrary, column: str, detector: tuple[float, float], kv: float = 80) -> float:
    return float(library.profile(column, kv, *detector, 0.45)[0])


def test_it_holds_the_benchmark(library: ResponseLibrary) -> None:
    assert set(columns.standard_columns()) <= set(library.columns)
    assert library.high_tensions_kv == (60, 80, 100, 120, 200, 300)
    for kv in library.high_tensions_kv:
        for detector in (MAADF, HAADF):
            library.check(kv, 30, *detector)
            for column in columns.standard_columns():
                profile = library.profile(column, kv, *detector, 0.45)
                assert np.isfinite(profile).all()
                assert (profile >= 0).all()
                assert 0 < profile[0] < 0.5


def test_provenance_says_how_it_was_made(library: ResponseLibrary) -> None:
    assert set(library.provenance["versions"]) >= {"abtem", "ase", "numpy"}
    assert library.provenance["convergence"]["worst_percent"] < 3
    assert library.provenance["ring_inner_mrad"] <= 35
    assert min(library.provenance["ring_outer_mrad"].values()) >= 200


# Frozen-phonon mean over 20 random displacements, twelve slices a column (WSe2, 80 kV, u = 0.07 Å for Se); its
# standard error is 3.5 % against W and 4 % between pair and single, most of it common to the pair's values.
@pytest.mark.parametrize(
    ("above", "below", "detector", "ratio"),
    [
        ("Se+Se", "W", HAADF, 0.839),
        ("Se+Se", "W", MAADF, 1.052),
        ("Se", "Se+Se", HAADF, 0.458),
        ("Se", "Se+Se", MAADF, 0.380),
    ],
)
def test_contrast_of_tungsten_diselenide(
    library: ResponseLibrary, above: str, below: str, detector: tuple[float, float], ratio: float
) -> None:
    assert _peak(library, above, detector) / _peak(library, below, detector) == pytest.approx(ratio, rel=0.03)


def test_the_metal_is_not_always_the_brighter_one(library: ResponseLibrary) -> None:
    brighter = {
        f"{m}{x}2": _peak(library, f"{x}+{x}", HAADF) > _peak(library, m, HAADF)
        for m in ("Mo", "W")
        for x in columns.CHALCOGENS
    }
    assert [name for name, chalcogen in brighter.items() if chalcogen] == ["MoSe2", "MoTe2", "WTe2"]


def test_oxygen_lies_between_vacancy_and_pair(library: ResponseLibrary) -> None:
    for x in columns.CHALCOGENS:
        assert _peak(library, x, HAADF) < _peak(library, f"O+{x}", HAADF) < _peak(library, f"{x}+{x}", HAADF)


def test_ring_weights(library: ResponseLibrary) -> None:
    weights = library.ring_weights(50, 120)
    assert weights.sum() == 14
    assert weights[:3].tolist() == [0, 0, 0]
    assert weights[3] == 1
    # 52 to 55 mrad of the ring 50 to 55, by area.
    assert library.ring_weights(52, 100)[3] == pytest.approx((55**2 - 52**2) / (55**2 - 50**2))
    inside = library.ring_weights(51, 54)
    assert inside.sum() == inside[3] == pytest.approx((54**2 - 51**2) / (55**2 - 50**2))


def test_two_detectors_add_up_to_the_one_that_spans_them(library: ResponseLibrary) -> None:
    whole = library.profile("W", 80, 60, 160, 0.4)
    parts = library.profile("W", 80, 60, 103, 0.4) + library.profile("W", 80, 103, 160, 0.4)
    np.testing.assert_allclose(parts, whole, rtol=2e-3, atol=1e-6)


def test_blur_keeps_the_signal() -> None:
    radii = PROFILE_RADII_ANGSTROM
    sharp = np.exp(-(radii**2) / (2 * 0.5**2))
    blurred = blur_matrix(0.4) @ sharp
    expected = 0.5**2 / (0.5**2 + 0.4**2) * np.exp(-(radii**2) / (2 * (0.5**2 + 0.4**2)))
    np.testing.assert_allclose(blurred, expected, atol=2e-3)
    assert (blurred @ radii) == pytest.approx(sharp @ radii, rel=5e-3)


@pytest.mark.parametrize("order", [0, 2])
def test_a_blur_between_grid_widths_is_that_of_its_width(order: int) -> None:
    radii = PROFILE_RADII_ANGSTROM
    profile = np.exp(-(radii**2) / 0.05) * radii**order
    widths = np.random.default_rng(1).uniform(0.2, 0.7, 40)
    fast = blur(np.tile(profile, (len(widths), 1)), widths, order)
    for width, one in zip(widths, fast, strict=True):
        exact = blur_matrix(width, order) @ profile
        np.testing.assert_allclose(one, exact, rtol=0, atol=1e-4 * profile.max())


def test_a_turning_blur_is_that_of_the_picture() -> None:
    from scipy.ndimage import gaussian_filter

    radii, pixel = PROFILE_RADII_ANGSTROM, 0.05
    y, x = np.mgrid[-80:81, -80:81] * pixel
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    profile = radii**2 * np.exp(-(radii**2) / 0.4)
    picture = gaussian_filter(np.interp(r, radii, profile) * np.cos(2 * angle), 0.4 / pixel, truncate=6)
    np.testing.assert_allclose(
        blur_matrix(0.4, 2)[:60] @ profile, picture[80, 80:140], atol=2e-3 * picture.max()
    )


def test_fast_responses_are_the_exact_ones(library: ResponseLibrary) -> None:
    rng = np.random.default_rng(2)
    keys = ("W", "Se+Se", "Se", "V", "O+Se", "vacant")
    for _ in range(20):
        inner = rng.uniform(46, 90)
        optics = Optics(80, rng.uniform(20, 40), inner, inner + rng.uniform(40, 130), rng.uniform(0.25, 0.7))
        at_rest, motion = library.at_rest(keys, optics)
        fast = library.responses(keys, optics)
        for profile, moves, one in zip(at_rest, motion, fast, strict=True):
            exact = blur_matrix(float(np.hypot(optics.sigma_angstrom, moves))) @ profile
            np.testing.assert_allclose(one, exact, rtol=0, atol=1e-4 * profile.max())


def test_a_node_is_held_as_it_was_simulated(library: ResponseLibrary) -> None:
    """Interpolation passes through its nodes, and is smooth between them."""
    detector = (70.0, 200.0)
    at = np.arange(20, 40.1, 0.5)
    peaks = np.array([library.response("W", Optics(80, a, *detector, 0.45))[0] for a in at])
    assert (np.diff(peaks) > 0).all()
    assert np.abs(np.diff(peaks, 3)).max() < 2e-3 * peaks.max()
    still = library.response("W", Optics(80, 30, *detector, 0.45))
    np.testing.assert_allclose(still, library.profile("W", 80, *detector, 0.45))


def test_defocus_widens_a_column_and_keeps_its_signal(library: ResponseLibrary) -> None:
    focused = library.response("Se+Se", Optics(80, 30, 70, 200, 0.45))
    away = [library.response("Se+Se", Optics(80, 30, 70, 200, 0.45, defocus_nm=d)) for d in (1, 2, 3, 4, 5, 6)]
    peaks = [focused[0], *(p[0] for p in away)]
    assert (np.diff(peaks) < 0).all()
    weights = PROFILE_RADII_ANGSTROM * (PROFILE_RADII_ANGSTROM < 5)
    assert (away[2] @ weights) == pytest.approx(focused @ weights, rel=0.1)
    np.testing.assert_array_equal(
        library.response("Se+Se", Optics(80, 30, 70, 200, 0.45, defocus_nm=-3)), away[2]
    )


def test_astigmatism_turns_with_the_sign_of_the_defocus(library: ResponseLibrary) -> None:
    def turning(defocus_nm: float, astigmatism_nm: float) -> np.ndarray | None:
        return library.astigmatic("W", Optics(80, 30, 70, 200, 0.45, defocus_nm, astigmatism_nm))

    assert turning(3, 0) is None
    assert turning(0, 2) is None
    over, under = turning(3, 2), turning(-3, 2)
    assert over is not None
    assert under is not None
    np.testing.assert_allclose(over, -under)
    peak = library.response("W", Optics(80, 30, 70, 200, 0.45, 3, 2))[0]
    # Longest along the azimuth: more signal there, nothing on the column itself.
    assert over[20] > 0.02 * peak
    assert abs(over[0]) < 1e-6 * peak


@pytest.mark.parametrize(
    ("optics", "says"),
    [
        (Optics(80, 30, 70, 200, 0.45, defocus_nm=8), r"8 nm is beyond the 6 nm"),
        (Optics(80, 38, 70, 200, 0.45, defocus_nm=2), r"of 25 to 35 mrad at 80 kV out of focus"),
        (Optics(120, 30, 70, 200, 0.45, defocus_nm=2), r"120 kV in focus only.*--defocus-nm 2"),
        (Optics(80, 30, 70, 200, 0.45, 0, 5), r"beyond the 4 nm"),
        (Optics(80, 35, 70, 200, 0.45, 0, 1), r"for convergences of 27.5 to 32.5 mrad"),
        (Optics(300, 30, 70, 200, 0.45, 0, 1), r"no astigmatism at 300 kV"),
        (Optics(80, 30, 70, 200, -0.1), r"cannot be negative"),
        (Optics(80, 30, 70, 200, 0.4, np.nan), r"The defocus is nan"),
        (Optics(80, 0, 70, 200, 0.4), r"0 mrad cannot be"),
    ],
)
def test_a_probe_outside_the_nodes_is_refused(library: ResponseLibrary, optics: Optics, says: str) -> None:
    for ask in (library.check, lambda o: library.response("W", o), lambda o: library.astigmatic("W", o)):
        with pytest.raises(LibraryError, match=says):
            ask(optics)


def test_stored_differences_are_within_a_thousandth() -> None:
    values = np.random.default_rng(3).normal(size=(4, 25, 40)) * np.geomspace(1e-6, 1e-2, 40)
    steps, step = pack(values)
    error = np.abs(unpack(steps, step) - values)
    assert (error <= 5e-4 * np.abs(values).max(axis=1, keepdims=True)).all()


def test_a_full_disk_leaves_nothing_in_half(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "new.npz.part").symlink_to("/dev/full")
    with pytest.raises(LibraryError, match="No space left on device"):
        write_library(folder / "new.npz", {"radii_angstrom": np.zeros(300_000)}, {"what": "test"})
    assert list(folder.iterdir()) == []


def test_thermal_weights_are_a_distribution() -> None:
    displacements = np.array([0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.32])
    shares = rayleigh_weights(displacements, 0.1)
    assert shares.sum() == pytest.approx(1)
    assert shares @ displacements == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)


def test_a_vacant_column_scatters_nothing(library: ResponseLibrary) -> None:
    assert not library.profile(columns.VACANT, 80, *HAADF, 0.45).any()


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ((40, 30, 70, 200), r"holds 60, 80, 100, 120, 200, 300 kV, not 40 kV.*--high-tension-kv 40"),
        ((82, 30, 70, 200), r"not 82 kV"),
        ((0, 30, 70, 200), r"not 0 kV"),
        ((-80, 30, 70, 200), r"not -80 kV"),
        ((80, 18, 70, 200), r"of 20 to 40 mrad at 80 kV, 18 mrad is too far.*--convergence-mrad 18"),
        ((80, 30, 20, 200), r"20-200 mrad is outside.*inner angle at least 35, outer at most 250 at 80 kV"),
        ((80, 30, 200, 70), r"200-70 mrad is outside"),
        ((80, np.nan, 70, 200), r"The convergence semi-angle is nan"),
        ((80, 30, 70, np.inf), r"The outer angle is inf"),
        ((80, 34, 37, 200), r"inner angle at least 39"),
        ((200, 30, 70, 240), r"outer at most 235 at 200 kV"),
        ((80, 30, 70, 90), r"25 mrad wide or more"),
    ],
)
def test_out_of_range_names_the_fix(
    library: ResponseLibrary, conditions: tuple[float, float, float, float], says: str
) -> None:
    with pytest.raises(LibraryError, match=says):
        library.check(*conditions)


def test_a_column_it_does_not_hold(library: ResponseLibrary) -> None:
    with pytest.raises(LibraryError, match=r"no column 'Xe'.*--column Xe"):
        library.profile("Xe", 80, *HAADF, 0.45)


def test_tampered_arrays_are_refused(copied: Path) -> None:
    ResponseLibrary(copied)
    raw = bytearray(copied.read_bytes())
    raw[len(raw) // 2] ^= 1
    copied.write_bytes(raw)
    with pytest.raises(LibraryError, match="sha256 differs"):
        ResponseLibrary(copied)


def test_truncated_arrays_are_refused(copied: Path) -> None:
    copied.write_bytes(copied.read_bytes()[:-100])
    with pytest.raises(LibraryError, match="sha256 differs"):
        ResponseLibrary(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_damaged_provenance_is_refused(copied: Path, text: str) -> None:
    copied.with_suffix(".json").write_text(text)
    with pytest.raises(LibraryError, match=re.escape("stemctx simulate library")):
        ResponseLibrary(copied)


def test_a_missing_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="cannot be read"):
        ResponseLibrary(tmp_path / "none.npz")


def test_objects_in_the_arrays_are_never_unpickled(copied: Path) -> None:
    with np.load(copied, allow_pickle=False) as stored:
        arrays = dict(stored)
    arrays["singles_80"] = np.array([{"a": 1}], dtype=object)
    provenance = json.loads(copied.with_suffix(".json").read_text())
    write_library(copied, arrays, provenance)
    with pytest.raises(LibraryError, match="not a response library"):
        ResponseLibrary(copied).profile("W", 80, *HAADF, 0.45)


def test_a_file_of_another_format_is_refused(copied: Path) -> None:
    beside = copied.with_suffix(".json")
    provenance = json.loads(beside.read_text())
    beside.write_text(json.dumps(provenance | {"format": 1}))
    with pytest.raises(LibraryError, match=r"is of format 1; this stemctx reads format 2.*simulate library"):
        ResponseLibrary(copied)


def test_writing_leaves_only_the_two_files(tmp_path: Path) -> None:
    write_library(tmp_path / "new.npz", {"radii_angstrom": np.zeros(3)}, {"what": "test"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.json", "new.npz"]
    assert len(json.loads((tmp_path / "new.json").read_text())["sha256"]) == 64
