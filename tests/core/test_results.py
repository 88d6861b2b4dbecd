"""`FrameResult` and the files it becomes."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemctx_core.chemistry.classes import candidates
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.results import (
    CSV_COLUMNS,
    DECISIONS,
    CalibrationSummary,
    Decision,
    FrameIdentity,
    FrameResult,
    Refusal,
    SiteTable,
)

HEADER = (
    "y_px,x_px,y_nm,x_nm,sublattice,role,species,probability,entropy_nats,decision,reason,"
    "probability_default_prior,probability_uniform_prior"
)


@pytest.fixture
def result() -> FrameResult:
    """Three sites: a W that passes, a V that is flagged, an Se2 that is not decided."""
    user = Source.USER
    context = ImagingContext(
        "WSe2", ("V",), Known(80, user), Known(30, user), Known(70, user), Known(200, user)
    )
    listed = candidates("WSe2", ["V"])
    posterior = np.zeros((3, len(listed)), np.float32)
    posterior[0, 0] = 1
    posterior[1, :2] = 0.1, 0.9
    posterior[2, 3:5] = 0.5, 0.5
    sites = SiteTable(
        y_px=np.array([10, 20.25, 30], np.float32),
        x_px=np.array([1, 2, 3.5], np.float32),
        sublattice=np.array([0, 0, 1], np.int8),
        posterior=posterior,
        best=np.array([0, 1, 3], np.int16),
        decision=np.array([DECISIONS.index(d) for d in ("pass", "flag", "abstain")], np.int8),
        reason=np.array([0, 0, 1], np.int16),
    )
    return FrameResult(
        frame=FrameIdentity("scan", 4, 512, (512, 512)),
        context=context,
        candidates=listed,
        sites=sites,
        reasons=("", "two species are as probable"),
        calibration=CalibrationSummary(0.25, 1.0, 0.0, 0.45, 1e5, 0.78, 0.784, 0.01, 0.05),
        timing_ms={"lattice": 12.34567},
    )


def test_columns_are_exactly_those_promised(result: FrameResult, tmp_path: Path) -> None:
    assert ",".join(CSV_COLUMNS) == HEADER
    result.write_csv(tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().splitlines()[0] == HEADER


def test_rows_say_what_the_sites_are(result: FrameResult, tmp_path: Path) -> None:
    result.write_csv(tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["species"] for r in rows] == ["W", "V_W", "Se2"]
    assert [r["role"] for r in rows] == ["M", "D_M", "X2"]
    assert [r["sublattice"] for r in rows] == ["M", "M", "X"]
    assert [r["decision"] for r in rows] == ["pass", "flag", "abstain"]
    assert [r["reason"] for r in rows] == ["", "", "two species are as probable"]
    assert float(rows[1]["y_nm"]) == pytest.approx(20.25 * 0.025, abs=1e-4)
    assert float(rows[1]["probability"]) == pytest.approx(0.9)
    assert float(rows[2]["entropy_nats"]) == pytest.approx(math.log(2), abs=1e-4)
    assert float(rows[0]["entropy_nats"]) == pytest.approx(0, abs=1e-4)


def test_a_file_appears_whole_or_not_at_all(result: FrameResult, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("the last run\n")
    broken = replace(result, reasons=("",))
    with pytest.raises(IndexError):
        broken.write_csv(path)
    assert path.read_text() == "the last run\n"
    result.write_csv(path)
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_flags_are_counted_by_species(result: FrameResult) -> None:
    assert result.flag_counts() == {"V_W": 1}
    assert result.where(Decision.ABSTAIN).tolist() == [2]


def test_json_line_tells_flags_and_abstentions_only(result: FrameResult) -> None:
    line = result.to_json_line()
    assert "\n" not in line
    read = json.loads(line)
    assert [row["species"] for row in read["told"]] == ["V_W", "Se2"]
    assert read["sites"] == 3
    assert read["undecided"] == 1
    assert read["context"]["high_tension_kv"] == {"type": "known", "value": 80, "source": "user", "detail": ""}
    assert read["timing_ms"] == {"lattice": 12.346}


def test_a_refusal_is_a_result_with_files(result: FrameResult, tmp_path: Path) -> None:
    refused = replace(
        result,
        sites=SiteTable.empty(len(result.candidates)),
        calibration=None,
        refusal=Refusal("no_lattice", "No lattice was found.", "Check the focus."),
    )
    refused.write_csv(tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().splitlines() == [HEADER]
    assert json.loads(refused.to_json_line())["refusal"]["code"] == "no_lattice"
    assert refused.flag_counts() == {}
