"""Whole frames through the shipped model: what is found, what is refused, what is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.materials import host
from stemctx_core.context import ImagingContext, Known, Missing, Source
from stemctx_core.contrast.cutting import extract_patches
from stemctx_core.contrast.patches import SIDE, CutPatches, whole_patches
from stemctx_core.lattice import find_sites
from stemctx_core.results import DECISIONS, EDGE, Decision, FrameIdentity, FrameResult
from stemctx_core.simulation.optics import Optics
from tests.core.frames import MAADF, Frame, FrameRecipe, make_frame

PLAIN = FrameRecipe(dose_e_per_angstrom2=1e5, shear=0.003, warp_angstrom=0.1, jitter_angstrom=0.03, seed=4)


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def context_of(recipe: FrameRecipe, **changes: object) -> ImagingContext:
    def known(value: float) -> Known:
        return Known(value, Source.USER)

    o = recipe.optics
    values: dict = {
        "host": recipe.host,
        "dopants": (recipe.dopant,),
        "high_tension_kv": known(o.high_tension_kv),
        "convergence_semi_angle_mrad": known(o.convergence_semi_angle_mrad),
        "inner_mrad": known(o.inner_mrad),
        "outer_mrad": known(o.outer_mrad),
        "pixel_size_angstrom": known(recipe.pixel_size_angstrom),
    }
    return ImagingContext(**{**values, **changes})


def matched(frame: Frame, result: FrameResult):
    """True role, told role and decision at every true site whose patch lies in the frame."""
    positions = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    distance, nearest = cKDTree(positions).query(frame.positions_px)
    edge = np.array([result.reasons[r] == EDGE for r in result.sites.reason])
    kept = (distance * frame.pixel_size_angstrom < 0.8) & ~edge[nearest]
    told = np.array([result.role(int(i)) for i in nearest[kept]], dtype=object)
    return frame.role[kept], told, result.sites.decision[nearest[kept]]


def detection(frame: Frame, result: FrameResult) -> tuple[float, float, float]:
    """Precision and recall of flags with the role right, and recall of any flag at a defect."""
    true, told, decision = matched(frame, result)
    flagged = decision == DECISIONS.index(Decision.FLAG)
    defect = ~np.isin(true, [Role.METAL, Role.CHALCOGEN_PAIR])
    right = flagged & (true == told)
    return right.sum() / flagged.sum(), right.sum() / defect.sum(), (flagged & defect).sum() / defect.sum()


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("default", PLAIN),
        ("medium angles, Se2 as bright as W", replace(PLAIN, optics=MAADF)),
        ("chalcogen brighter", replace(PLAIN, host="MoTe2", dopant="V")),
        ("chalcogen faint", replace(PLAIN, host="WS2", dopant="Mo", dose_e_per_angstrom2=1e6)),
        ("60 kV", replace(PLAIN, host="MoSe2", dopant="W", optics=Optics(60.0, 30.0, 50.0, 120.0, 0.4))),
        ("200 kV", replace(PLAIN, dose_e_per_angstrom2=3e5, optics=Optics(200.0, 30.0, 70.0, 200.0, 0.4))),
        ("sheared and warped", replace(PLAIN, shear=0.01, warp_angstrom=0.5)),
        ("hazy", replace(PLAIN, background=0.5)),
        ("coarse pixels", replace(PLAIN, pixel_size_angstrom=0.35, shape=(320, 320))),
        ("fine pixels", replace(PLAIN, pixel_size_angstrom=0.12, shape=(700, 700))),
    ],
)
def test_defects_are_flagged_with_their_role(name: str, recipe: FrameRecipe, analyzer: FrameAnalyzer) -> None:
    frame = make_frame(recipe)
    result = analyzer.analyze(frame.image, context_of(recipe))
    assert result.refusal is None, result.refusal
    precision, recall, found = detection(frame, result)
    print(f"{name}: precision {precision:.3f} recall {recall:.3f} found {found:.3f}")
    assert precision >= 0.93
    assert recall >= 0.93
    assert found >= 0.97


def test_the_frame_tells_its_dose_source_and_ratio(analyzer: FrameAnalyzer) -> None:
    for dose in (1e4, 1e5):
        recipe = replace(PLAIN, dose_e_per_angstrom2=dose)
        told = analyzer.analyze(make_frame(recipe).image, context_of(recipe)).calibration
        assert told is not None
        assert told.dose_e_per_angstrom2 == pytest.approx(dose, rel=0.25)
        assert told.sigma_angstrom == pytest.approx(0.41, abs=0.03)
        assert told.ratio_measured == pytest.approx(told.ratio_expected, rel=0.03)
        assert told.pixel_size_angstrom == pytest.approx(0.2, rel=0.01)


def test_low_dose_says_that_it_cannot_tell(analyzer: FrameAnalyzer) -> None:
    recipe = replace(PLAIN, dose_e_per_angstrom2=1e3)
    result = analyzer.analyze(make_frame(recipe).image, context_of(recipe))
    assert result.refusal is None
    assert any("Cannot be told apart at this dose" in w and "vac_Se from Se2" in w for w in result.warnings)
    reasons = {result.reasons[int(r)] for r in result.sites.reason}
    assert any("cannot be told apart at this dose" in r and " or " in r for r in reasons)


def test_a_rhenium_dopant_is_said_to_be_hidden_and_never_flagged(analyzer: FrameAnalyzer) -> None:
    recipe = replace(PLAIN, dopant="Re")
    result = analyzer.analyze(make_frame(recipe).image, context_of(recipe))
    assert "Re_W" not in result.flag_counts()
    assert any("Re_W from W" in w for w in result.warnings)


def test_wrong_angles_show_in_the_ratio(analyzer: FrameAnalyzer) -> None:
    frame = make_frame(replace(PLAIN, optics=MAADF))
    result = analyzer.analyze(frame.image, context_of(PLAIN))
    assert any("angles may not be the real ones" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"high_tension_kv": Known(380.0, Source.USER)}, "outside_library", "380 kV"),
        ({"inner_mrad": Known(31.0, Source.USER)}, "outside_library", "inner angle at least 35"),
        # The library answers for these; no model was trained on them.
        ({"high_tension_kv": Known(300.0, Source.USER)}, "outside_training", "beam energy 300 kV"),
        (
            {"convergence_semi_angle_mrad": Known(39.0, Source.USER)},
            "outside_training",
            "trained on 25 to 35 mrad",
        ),
        ({"inner_mrad": Known(120.0, Source.USER)}, "outside_training", "inner angle 120 mrad"),
        ({"outer_mrad": Known(230.0, Source.USER)}, "outside_training", "outer less inner angle 160 mrad"),
        ({"high_tension_kv": Known(80000.0, Source.USER)}, "bad_context", "unit"),
        ({"host": "WSe3"}, "bad_context", "no host"),
        ({"pixel_size_angstrom": Known(0.27, Source.USER)}, "pixel_size_mismatch", "lattice"),
    ],
)
def test_a_bad_context_is_a_refusal(change: dict, code: str, words: str, analyzer: FrameAnalyzer) -> None:
    image = make_frame(replace(PLAIN, shape=(256, 256))).image
    result = analyzer.analyze(image, context_of(PLAIN, **change))
    assert result.refusal is not None
    assert result.refusal.code == code
    assert words in result.refusal.reason
    assert len(result.sites) == 0


def test_a_frame_of_almost_no_counts_is_a_refusal_and_no_warning(analyzer: FrameAnalyzer) -> None:
    for dose in (3.0, 10.0, 30.0, 100.0):
        recipe = replace(PLAIN, dose_e_per_angstrom2=dose, shape=(256, 256), background=0.0)
        result = analyzer.analyze(make_frame(recipe).image, context_of(recipe))
        flags = len(result.where(Decision.FLAG))
        assert result.refusal is not None or flags <= 0.005 * len(result.sites)


def test_another_material_is_not_confidently_labelled(analyzer: FrameAnalyzer) -> None:
    frame = make_frame(replace(PLAIN, host="MoTe2", dopant="W"))
    result = analyzer.analyze(frame.image, context_of(PLAIN, pixel_size_angstrom=Missing("not given")))
    assert result.refusal is not None
    assert result.refusal.code == "calibration"


@pytest.mark.parametrize("host", ["WSe2", "MoS2"])
@pytest.mark.parametrize(
    "names",
    [
        ("convergence_semi_angle_mrad",),
        ("high_tension_kv",),
        ("outer_mrad",),
        ("high_tension_kv", "inner_mrad"),
    ],
)
def test_what_is_missing_is_averaged_over(host: str, names: tuple[str, ...], analyzer: FrameAnalyzer) -> None:
    recipe = replace(PLAIN, host=host, dopant="Nb")
    frame = make_frame(recipe)
    unknown = Missing("no control answers")
    result = analyzer.analyze(frame.image, context_of(recipe, **dict.fromkeys(names, unknown)))
    assert result.refusal is None, result.refusal
    assert any(w.startswith("Not known") and "no control answers" in w for w in result.warnings)
    assert getattr(result.context, names[0]) == unknown
    told = detection(frame, result)
    whole = detection(frame, analyzer.analyze(frame.image, context_of(recipe)))
    assert told == pytest.approx(whole, abs=0.05)


def test_rows_of_an_unfinished_frame(analyzer: FrameAnalyzer) -> None:
    frame = make_frame(PLAIN)
    part = analyzer.analyze(frame.image[:200], context_of(PLAIN), FrameIdentity("s", 1, 200, (512, 512)))
    assert part.refusal is None
    assert part.frame.valid_rows == 200
    assert part.sites.y_px.max() < 200
    assert part.flag_counts()


def test_a_followed_lattice_gives_the_same_answer(analyzer: FrameAnalyzer) -> None:
    frame, context = make_frame(replace(PLAIN, shape=(320, 320))), context_of(PLAIN)
    anew = analyzer.evidence(frame.image, context)
    followed = analyzer.evidence(frame.image, context, previous=anew.grid)
    assert followed.grid is not None
    assert anew.grid is not None
    index, other = (
        {(*cell, site): k for k, (cell, site) in enumerate(zip(g.cell_index, g.sublattice, strict=True))}
        for g in (anew.grid, followed.grid)
    )
    both = np.array([(index[key], other[key]) for key in index if key in other])
    assert len(both) > 0.99 * len(anew.grid)
    results = [analyzer.conclude(e, context, FrameIdentity()) for e in (anew, followed)]
    here, there = (r.sites.decision[both[:, k]] for k, r in enumerate(results))
    judged = (anew.obstacle[both[:, 0]] == 0) & (followed.obstacle[both[:, 1]] == 0)
    assert (here == there)[judged].mean() > 0.998


def test_a_previous_lattice_that_does_not_fit_is_looked_for_anew(analyzer: FrameAnalyzer) -> None:
    small = replace(PLAIN, shape=(320, 320))
    context = context_of(PLAIN)
    before = analyzer.evidence(make_frame(small).image, context)
    other = make_frame(replace(small, seed=11)).image
    told = analyzer.analyze(other, context, previous=before.grid)
    assert told.flag_counts() == analyzer.analyze(other, context).flag_counts()


def test_patches_cut_elsewhere_give_the_same_answer(analyzer: FrameAnalyzer) -> None:
    frame, context = make_frame(PLAIN), context_of(PLAIN)
    whole = analyzer.analyze(frame.image, context)
    grid = find_sites(frame.image, host("WSe2"), frame.expected_ratio, 0.2)
    patches = extract_patches(frame.image, grid)
    inside = whole_patches(frame.image.shape, grid)
    y, x = grid.positions_px[inside].T
    cut = CutPatches(patches[inside].reshape(-1, SIDE, SIDE), y, x, grid.sublattice[inside])
    result = analyzer.analyze_patches(cut, context, FrameIdentity())
    assert result.flag_counts() == whole.flag_counts()
