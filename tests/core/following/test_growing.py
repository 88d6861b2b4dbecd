"""Rows of a frame that is being scanned are judged once, and as the whole frame would be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.following.field_memory import FieldMemory
from stemctx_core.following.growing import GrowingFrame
from stemctx_core.results import FrameResult
from tests.core.fields import Field, context_of


class CountingAnalyzer(FrameAnalyzer):
    """Counts the patches that its model judges."""

    judged = 0

    def count(self) -> int:
        before, self.judged = self.judged, 0
        return before


@pytest.fixture
def analyzer() -> FrameAnalyzer:
    made = CountingAnalyzer.shipped()
    told = made.classifier.log_likelihood_of_features

    def counted(patches, *scene, **how):  # type: ignore[no-untyped-def]
        made.judged += len(patches)
        return told(patches, *scene, **how)

    made.classifier.log_likelihood_of_features = counted  # type: ignore[method-assign]
    return made


def difference(one: FrameResult, other: FrameResult) -> tuple[float, float, float]:
    """Share of the sites found in both, largest difference of a posterior, share of other decisions."""
    places = [np.stack([r.sites.y_px, r.sites.x_px], axis=1) for r in (one, other)]
    distance, row = cKDTree(places[0]).query(places[1])
    both = distance < 1.0
    posterior = np.abs(one.sites.posterior[row[both]] - other.sites.posterior[both]).max()
    decisions = np.mean(one.sites.decision[row[both]] != other.sites.decision[both])
    return float(both.mean()), float(posterior), float(decisions)


def test_new_rows_are_judged_once_and_as_the_whole_would_be(analyzer: FrameAnalyzer) -> None:
    field, context = Field(side_px=400), context_of()
    image, growing, grid = field.frame(0), GrowingFrame(analyzer), None
    judged = []
    for rows in range(80, 401, 40):
        rows = min(rows, 399)
        result, grid = growing.analyze(image[:rows], context, field.identity(0, rows), grid)
        judged.append(analyzer.count())
        whole = analyzer.analyze(image[:rows], context)
        analyzer.count()
        shared, posterior, decisions = difference(result, whole)
        print(rows, judged[-1], round(shared, 4), round(posterior, 3), round(decisions, 4))
        assert shared > 0.98  # sites at the border of the rows
        assert posterior < 0.15
        assert decisions < 0.01
    sites = len(result.sites)
    # The rows are judged whole at 80, 160 and 320, and by themselves in between.
    assert sum(judged) < 2.2 * sites


def test_rows_of_another_frame_and_fewer_rows_start_anew(analyzer: FrameAnalyzer) -> None:
    field, context = Field(), context_of()
    growing, image = GrowingFrame(analyzer), field.frame(0)
    growing.analyze(image[:200], context, field.identity(0, 200))
    analyzer.count()
    for number, rows in ((1, 240), (1, 200), (2, 240)):
        result, _ = growing.analyze(image[:rows], context, field.identity(number, rows))
        whole = analyzer.analyze(image[:rows], context)
        assert np.array_equal(result.sites.posterior, whole.sites.posterior)


def test_rows_that_do_not_fit_the_scale_of_the_first_are_judged_with_their_own(analyzer: FrameAnalyzer) -> None:
    field, context = Field(), context_of()
    image = field.frame(0)
    image[200:] *= 1.6  # the current rose
    growing = GrowingFrame(analyzer)
    growing.analyze(image[:200], context, field.identity(0, 200))
    analyzer.count()
    result, _ = growing.analyze(image[:300], context, field.identity(0, 300))
    assert analyzer.count() > 0.8 * np.count_nonzero(result.sites.decision != 2)
    shared, posterior, decisions = difference(result, analyzer.analyze(image[:300], context))
    assert shared > 0.98
    assert posterior < 0.15
    assert decisions < 0.01


def test_a_finished_frame_is_as_if_it_had_come_at_once(analyzer: FrameAnalyzer) -> None:
    field, context = Field(), context_of()
    image, memory = field.frame(0), FieldMemory(analyzer)
    for rows in (40, 120, 200, 280):
        memory.analyze(image[:rows], context, field.identity(0, rows))
    finished = memory.analyze(image, context, field.identity(0))
    assert finished.frames_accumulated == 1
    shared, posterior, decisions = difference(finished, analyzer.analyze(image, context))
    assert shared > 0.995
    assert posterior < 0.15  # its lattice was followed, not found anew
    assert decisions < 0.01
    assert memory.analyze(field.frame(1), context, field.identity(1)).frames_accumulated == 2
