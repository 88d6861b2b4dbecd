"""Whole labelled frames: bytes, labels, records, and what the site grid and the analyzer make of them."""

from __future__ import annotations

import json

import msgspec
import numba
import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.calibration.calibrate import expected_ratio
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, LabelledFrame, labelled_frame, rebuilt
from stemctx_core.dataset.regions import GrainBoundary, Hole, Line, SecondLayer
from stemctx_core.errors import InputError, LatticeError, LibraryError
from stemctx_core.lattice import SiteGrid, find_sites
from stemctx_core.results import DECISIONS, Decision
from stemctx_core.simulation.imaging import Drift, ImagingChain
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics

HAADF, MAADF = (70.0, 200.0), (50.0, 120.0)
EVERYTHING = CrystalRecipe(
    substitutes=("S", "Te"), antisites=True, complexes=True, clustering=0.4,
    boundary=GrainBoundary(), holes=(Hole((0.3, 0.7), 12.0),), edge=Line(0.0, 0.4), second_layer=SecondLayer(),
)  # fmt: skip


def recipe(host: str = "WSe2", **changes: object) -> FrameRecipe:
    base = FrameRecipe(Case(materials.host(host), ("V",), 80.0, *HAADF), shape=(256, 256))
    return msgspec.structs.replace(base, **changes)


def make(of: FrameRecipe, seed: int = 0) -> LabelledFrame:
    return labelled_frame(shipped_library(), of, seed)


def well_inside(frame: LabelledFrame, margin_px: float = 6.0) -> np.ndarray:
    last = np.array(frame.images.shape[1:]) - 1
    p = frame.sites.lattice_px
    return np.all((p > margin_px) & (p < last - margin_px), axis=1)


def recall_and_naming(frame: LabelledFrame, grid: SiteGrid, px: float) -> tuple[float, float]:
    """Share of the valid sites that have a found one within 0.6 Å, and of those with the right sublattice."""
    distance, nearest = cKDTree(grid.positions_px).query(frame.sites.lattice_px)
    counted = frame.sites.valid & well_inside(frame)
    found = counted & (distance * px < 0.6)
    named = (grid.sublattice[nearest] == frame.sites.sublattice)[found].mean()
    return float(found.sum() / counted.sum()), float(named)


@pytest.mark.parametrize("chain", [ImagingChain.pristine(), ImagingChain.typical(), ImagingChain.difficult()])
def test_a_record_gives_the_same_bytes_again(chain: ImagingChain) -> None:
    first = make(recipe(second_detector_mrad=MAADF, crystal=EVERYTHING, chain=chain), seed=7)
    again = rebuilt(shipped_library(), json.loads(json.dumps(first.record)))
    assert first.images.tobytes() == again.images.tobytes()
    assert first.sites.positions_px.tobytes() == again.sites.positions_px.tobytes()
    np.testing.assert_array_equal(first.sites.species, again.sites.species)
    assert first.record == again.record
    other = make(recipe(second_detector_mrad=MAADF, crystal=EVERYTHING, chain=chain), seed=8)
    assert first.images.tobytes() != other.images.tobytes()


def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    of = recipe(second_detector_mrad=MAADF, chain=ImagingChain.typical())
    used = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = make(of)
        numba.set_num_threads(used)
        many = make(of)
    finally:
        numba.set_num_threads(used)
    assert one.images.tobytes() == many.images.tobytes()


def test_columns_stand_where_the_labels_say() -> None:
    still = CrystalRecipe(prevalence=dict.fromkeys(Role, 0.0), relaxation=0.0)
    chain = msgspec.structs.replace(
        ImagingChain(), steps=tuple(s for s in ImagingChain.typical().steps if s.stage == 0)
    )
    frame = make(recipe(crystal=still, chain=chain, dose_e_per_angstrom2=1e7))
    image, sites = frame.images[0], frame.sites
    metal = np.flatnonzero((sites.sublattice == 0) & well_inside(frame))
    off = []
    for y, x in sites.positions_px[metal]:
        i, j = round(y), round(x)
        window = image[i - 3 : i + 4, j - 3 : j + 4].astype(float)
        window -= window.min()
        shift = np.arange(-3, 4)
        centre = np.array([(window.sum(1) * shift).sum(), (window.sum(0) * shift).sum()]) / window.sum()
        off.append(centre + [i - y, j - x])
    # Scan lines jitter; on average nothing is off.
    np.testing.assert_allclose(np.median(off, axis=0) * 0.2, 0, atol=0.02)
    assert np.std(off, axis=0).max() * 0.2 < 0.12


def test_a_specimen_that_drifts_far_still_fills_the_frame() -> None:
    frame = make(recipe(chain=ImagingChain((Drift((25.0, -20.0)),)), dose_e_per_angstrom2=1e6))
    blocks = frame.images[0].reshape(8, 32, 8, 32).mean(axis=(1, 3))
    assert blocks.min() > 0.8 * np.median(blocks)


def test_defocus_reaches_the_image() -> None:
    sharp, soft = (make(recipe(dose_e_per_angstrom2=1e7, defocus_nm=c)).images[0] for c in (0.0, 3.0))
    assert soft.std() < 0.95 * sharp.std()


def test_both_detectors_see_the_same_scan() -> None:
    frame = make(recipe(second_detector_mrad=MAADF, dose_e_per_angstrom2=1e6))
    assert frame.images.shape == (2, 256, 256)
    assert frame.images[1].sum() > frame.images[0].sum()
    assert np.corrcoef(frame.images[0].ravel(), frame.images[1].ravel())[0, 1] > 0.9


def test_a_frame_is_of_the_type_that_its_chain_ends_with() -> None:
    assert make(recipe()).images.dtype == np.float32
    assert make(recipe(chain=ImagingChain.typical())).images.dtype == np.uint16


def test_the_truth_names_everything_that_can_be_there() -> None:
    frame = make(recipe(shape=(768, 768), crystal=EVERYTHING))
    sites = frame.sites
    assert set(np.unique(sites.grain)) == {0, 1}
    assert set(np.unique(sites.layer)) == {0, 1}
    assert 0 < sites.valid.sum() < len(sites)
    assert not sites.valid[sites.layer == 1].any()
    assert set(np.unique(sites.role)) >= {"M", "X2", "vac_X", "D_M", "O_X", "Y_X"}
    assert sum(frame.record["drawn"]["species"].values()) >= len(sites)
    # The hole is empty in the image too.
    y, x = 0.3 * 768, 0.7 * 768
    assert (
        frame.images[0, int(y) - 12 : int(y) + 12, int(x) - 12 : int(x) + 12].mean()
        < 0.15 * frame.images[0].mean()
    )


@pytest.mark.parametrize("host", ["WSe2", "MoS2"])
def test_the_site_grid_finds_the_sites_of_typical_frames(host: str) -> None:
    case = Case(materials.host(host), ("V",), 80.0, *HAADF)
    optics = Optics(80.0, 30.0, *HAADF, 0.45)
    ratio = expected_ratio(shipped_library(), case.host, optics)
    worst = []
    for seed in range(3):
        of = FrameRecipe(case, shape=(512, 512), dose_e_per_angstrom2=2e4, chain=ImagingChain.typical())
        frame = make(of, seed)
        worst.append(recall_and_naming(frame, find_sites(frame.images[0], case.host, ratio, 0.2), 0.2))
    recall, naming = np.min(worst, axis=0)
    print(
        f"\n{host}, typical chain, 2e4 e/Å²: recall {recall:.4f}, naming {naming:.4f} (worst of three frames)"
    )
    assert recall >= 0.999
    assert naming >= 0.999


def test_difficult_frames_give_sites_or_a_refusal() -> None:
    for seed in range(2):
        frame = make(recipe(shape=(512, 512), chain=ImagingChain.difficult()), seed)
        try:
            grid = find_sites(frame.images[0], materials.host("WSe2"), 0.78, 0.2)
        except LatticeError as refused:
            print(f"\ndifficult, seed {seed}: {refused.reason}")
        else:
            recall, naming = recall_and_naming(frame, grid, 0.2)
            print(f"\ndifficult, seed {seed}: recall {recall:.3f}, naming {naming:.3f}")


def test_the_shipped_classifier_flags_real_defects_in_a_typical_frame() -> None:
    of = recipe(shape=(768, 768), dose_e_per_angstrom2=5e4, chain=ImagingChain.typical())
    frame = make(of)
    given = ImagingContext("WSe2", ("V",), *(known(v, Source.USER) for v in (80.0, 30.0, *HAADF)))
    result = FrameAnalyzer.shipped().analyze(frame.images[0], given)
    assert result.refusal is None
    found = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    distance, nearest = cKDTree(found).query(frame.sites.lattice_px)
    counted = well_inside(frame, 25) & frame.sites.valid & (distance * 0.2 < 0.8)
    flagged = counted & (result.sites.decision == DECISIONS.index(Decision.FLAG))[nearest]
    right = flagged & frame.sites.is_defect
    precision = right.sum() / max(1, flagged.sum())
    recall = right.sum() / (counted & frame.sites.is_defect).sum()
    print(f"\ntypical chain, 5e4 e/Å²: {flagged.sum()} flags, precision {precision:.3f}, recall {recall:.3f}")
    assert precision > 0.9
    assert recall > 0.2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"dose_e_per_angstrom2": 0.0}, InputError),
        ({"dose_e_per_angstrom2": float("inf")}, InputError),
        ({"shape": (0, 100)}, InputError),
        ({"pixel_size_angstrom": 0.0}, InputError),
        ({"second_detector_mrad": (20.0, 200.0)}, LibraryError),
        ({"second_detector_mrad": (200.0, 70.0)}, LibraryError),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make(recipe(**{"shape": (64, 64), **change}))


def test_other_records_are_refused() -> None:
    record = make(recipe(shape=(32, 32))).record
    for broken in ({}, {**record, "version": 99}, {**record, "recipe": {"case": 1}}, {**record, "seed": "x"}):
        with pytest.raises(InputError, match="record"):
            rebuilt(shipped_library(), broken)
    with pytest.raises(InputError, match="seed"):
        make(recipe(), seed=-1)
