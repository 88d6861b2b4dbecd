"""Real micrographs, with no label used by the classifier: agreement with people's labels, and refusals.

The labels were made from the image itself, so these figures are agreement with an expert-guided clustering, not
chemistry. `pytest tests/core/experiment/test_real_frames.py -s` prints them, `stemctx real` writes the page of all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.real.data import (
    BOUNDARY,
    MOS2,
    RHENIUM,
    declared,
    image_of,
    ti_wse2,
    ti_wse2_labels,
)
from stemctx_core.real.figures import figures, matched

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def ti_figures(analyzer: FrameAnalyzer, folder: Path, detector: str, thorough: bool) -> dict[str, Any]:
    image = ti_wse2(folder, detector)
    result = analyzer.analyze(image, declared("WSe2", ("Ti",), 80.0), thorough=thorough)
    assert result.refusal is None
    found = figures(matched(result, ti_wse2_labels(folder), (image.shape[0], image.shape[1])))
    kind = "thorough" if thorough else "live"
    for name in ("vac_Se", "vac_Se_all_sites", "vac_Se_or_O_Se"):
        told = ", ".join(
            f"{k} {found[name][k]['value']}" for k in ("precision", "recall", "f1", "average_precision")
        )
        print(f"\n{detector} {kind}, {name}: {told}", end="")
    print(f"\n{detector} {kind}: judged {found['judged']}, kappa {found['kappa_by_role']}")
    return found


@pytest.mark.parametrize(("detector", "least_f1", "least_either"), [("ADF1", 0.75, 0.84), ("ADF2", 0.86, 0.82)])
def test_the_live_path_agrees_with_the_labels(
    detector: str, least_f1: float, least_either: float, analyzer: FrameAnalyzer, real_data: Path
) -> None:
    found = ti_figures(analyzer, real_data, detector, thorough=False)
    assert found["found"] > 0.999
    assert found["vac_Se"]["f1"]["value"] >= least_f1
    assert found["vac_Se_or_O_Se"]["f1"]["value"] >= least_either
    assert found["dopants_told"] <= 4


def test_all_columns_at_once_agree_better(analyzer: FrameAnalyzer, real_data: Path) -> None:
    found = ti_figures(analyzer, real_data, "ADF1", thorough=True)
    assert found["vac_Se_all_sites"]["f1"]["value"] >= 0.86
    assert found["vac_Se_all_sites"]["average_precision"]["value"] >= 0.87
    assert found["dopants_told"] <= 4


def test_a_frame_without_a_lattice_is_refused(analyzer: FrameAnalyzer, real_data: Path) -> None:
    image = image_of(real_data, RHENIUM)
    result = analyzer.analyze(image, declared("WSe2", ("Re",), 80.0, (70.0, 200.0)))
    assert result.refusal is not None
    assert result.refusal.code in {"no_lattice", "calibration", "contrast"}


def test_single_vacancies_are_refused_where_they_are_too_near_the_host(
    analyzer: FrameAnalyzer, real_data: Path
) -> None:
    result = analyzer.analyze(image_of(real_data, MOS2), declared("MoS2", (), 60.0))
    print(f"\n60 kV MoS2: {result.flag_counts()} {list(result.warnings)}")
    assert result.refusal is None
    assert len(result.sites) > 4000
    assert "vac_S" not in result.flag_counts()
    assert any("vac_S is not called in this frame" in w for w in result.warnings)
    assert any("vac_S is not called in this frame" in r for r in result.reasons)


def test_both_grains_of_a_boundary_are_told(analyzer: FrameAnalyzer, real_data: Path) -> None:
    result = analyzer.analyze(image_of(real_data, BOUNDARY), declared("MoSe2", (), 80.0))
    words = result.refusal.reason if result.refusal else f"{result.flag_counts()} {list(result.warnings)}"
    print(f"\nMoSe2 grain boundary: {words}")
    assert result.refusal is None
    assert any("mirror twins" in w for w in result.warnings)
    assert any(r.startswith("another grain") for r in result.reasons)


@pytest.mark.parametrize(
    ("host", "angles"), [("MoS2", (50.0, 120.0)), ("WSe2", (35.0, 70.0))], ids=["another host", "other angles"]
)
def test_the_host_check_objects_to_a_wrong_context(
    host: str, angles: tuple[float, float], analyzer: FrameAnalyzer, real_data: Path
) -> None:
    result = analyzer.analyze(ti_wse2(real_data, "ADF1"), declared(host, ("Ti",), 80.0, angles))
    assert result.refusal is not None
    assert result.refusal.code == "wrong_host"
