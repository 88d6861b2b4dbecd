from __future__ import annotations

import numpy as np
import pytest

from sim.generator import GroundTruth
from sim.scoring import FrameScore, Score, score
from sim.specimen import ColumnField
from stemctx_core.chemistry import classes
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.results import DECISIONS, Decision, FrameIdentity, FrameResult, SiteTable

CANDIDATES = classes.candidates("WSe2", ["V"])
SPECIES = [c.species for c in CANDIDATES]
PIXEL_ANGSTROM = 0.2
SHAPE = (400, 400)
Row = tuple[float, float, str]
FLAG, PASS, ABSTAIN = Decision.FLAG, Decision.PASS, Decision.ABSTAIN


def _truth(*sites: Row) -> GroundTruth:
    index = np.array([SPECIES.index(s) for _, _, s in sites], np.int64)
    positions = np.array([(y, x) for y, x, _ in sites], float).reshape(-1, 2)
    empty = np.zeros(len(sites), np.int8)
    field = ColumnField(positions, index, empty, np.zeros((len(sites), 2), np.int64), CANDIDATES)
    return GroundTruth(positions, field, SHAPE, PIXEL_ANGSTROM)


def _result(*rows: tuple[float, float, str, Decision]) -> FrameResult:
    best = np.array([SPECIES.index(s) for _, _, s, _ in rows], np.int16)
    table = SiteTable(
        np.array([r[0] for r in rows], np.float32),
        np.array([r[1] for r in rows], np.float32),
        np.zeros(len(rows), np.int8),
        np.eye(len(SPECIES), dtype=np.float32)[best],
        best,
        np.array([DECISIONS.index(r[3]) for r in rows], np.int8),
        np.zeros(len(rows), np.int16),
    )
    angle = Known(80.0, Source.USER)
    return FrameResult(
        frame=FrameIdentity("scan", 0, SHAPE[0], SHAPE),
        context=ImagingContext("WSe2", ("V",), angle, angle, angle, angle),
        candidates=CANDIDATES,
        sites=table,
    )


def test_right_wrong_species_false_and_missed() -> None:
    truth = _truth(
        (100, 100, "V_W"), (100, 150, "vac_Se"), (150, 100, "O_Se"), (200, 200, "W"), (250, 250, "vac_Se")
    )  # fmt: skip
    result = _result(
        (100.5, 99, "V_W", FLAG),  # right
        (100, 150, "vac_Se", FLAG),  # right
        (150, 101, "vac_Se", FLAG),  # a defect, of another species
        (200, 200, "vac_W", FLAG),  # nothing is wrong there
        (300, 300, "vac_W", FLAG),  # no site at all
        (250, 250, "vac_Se", ABSTAIN),  # missed
    )
    scored = score(result, truth)
    assert scored == FrameScore(Score(2, 3, 2), Score(3, 2, 1), abstained=1)
    assert scored.strict.precision == pytest.approx(2 / 5)
    assert scored.strict.recall == pytest.approx(2 / 4)


@pytest.mark.parametrize(("offset_px", "right"), [(3.9, 1), (4.1, 0)])
def test_a_flag_must_lie_within_eight_tenths_of_an_angstrom(offset_px: float, right: int) -> None:
    scored = score(_result((100 + offset_px, 100, "V_W", FLAG)), _truth((100, 100, "V_W"), (100, 120, "W")))
    assert scored.strict == Score(right, 1 - right, 1 - right)


def test_near_the_border_nothing_counts() -> None:
    # Half a patch is 20 pixels; a matched pair counts by where its site is.
    truth = _truth((19.5, 100, "V_W"), (20.5, 150, "V_W"), (100, 380.5, "V_W"))
    result = _result(
        (20.5, 100, "V_W", FLAG), (19.5, 150, "V_W", FLAG), (100, 381, "V_W", FLAG), (5, 5, "vac_W", FLAG)
    )
    assert score(result, truth).strict == Score(right=1)


def test_two_flags_on_one_site_are_one_right_and_one_wrong() -> None:
    scored = score(_result((100, 100, "V_W", FLAG), (101, 100, "V_W", FLAG)), _truth((100, 100, "V_W")))
    assert scored.strict == scored.detection == Score(1, 1, 0)
    # A wrong species first does not take the site from a right one.
    scored = score(_result((101, 100, "vac_W", FLAG), (100, 100, "V_W", FLAG)), _truth((100, 100, "V_W")))
    assert scored.strict == Score(1, 1, 0)


def test_passed_sites_and_empty_frames() -> None:
    assert score(_result((100, 100, "V_W", PASS)), _truth((100, 100, "V_W"))).strict == Score(missed=1)
    nothing = score(_result(), _truth())
    assert nothing == FrameScore()
    assert nothing.strict.precision is None
    assert nothing.strict.recall is None
    assert score(_result((100, 100, "V_W", FLAG)), _truth()).strict == Score(wrong=1)


def test_frames_add_up() -> None:
    total = FrameScore(Score(1, 0, 1), Score(2, 0, 0), 1) + FrameScore(Score(3, 2, 0), Score(3, 1, 1), 2)
    assert total == FrameScore(Score(4, 2, 1), Score(5, 1, 1), 3)
