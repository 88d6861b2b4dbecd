"""Figures of agreement with labels, against scikit-learn, on a frame whose labels are the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, cohen_kappa_score, f1_score
from typer import Typer
from typer.testing import CliRunner

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError
from stemctx_core.real.commands import register
from stemctx_core.real.data import Labels, ti_wse2, ti_wse2_labels
from stemctx_core.real.figures import Matched, agreement, figures, matched
from stemctx_core.real.must_show import must_show
from stemctx_core.real.page import page
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of


@pytest.fixture(scope="module")
def found() -> Matched:
    recipe = FrameRecipe(shape=(220, 220), pixel_size_angstrom=0.25, dose_e_per_angstrom2=4e3, seed=31)
    frame = make_frame(recipe)
    result = FrameAnalyzer.shipped().analyze(frame.image, context_of(recipe))
    roles = np.array([Role(r).value for r in frame.role])
    return matched(result, Labels(frame.positions_px, roles), (220, 220))


def test_figures_are_those_of_scikit_learn(found: Matched) -> None:
    told = figures(found)
    judged = found.judged
    true, named = (found.role == "vac_X")[judged], (found.named == "vac_X")[judged]
    assert told["vac_Se"]["f1"]["value"] == pytest.approx(f1_score(true, named), abs=1e-4)
    area = average_precision_score(true, found.probability(Role.CHALCOGEN_VACANCY)[judged])
    assert told["vac_Se"]["average_precision"]["value"] == pytest.approx(area, abs=1e-4)
    assert told["vac_Se"]["f1"]["low"] <= told["vac_Se"]["f1"]["value"] <= told["vac_Se"]["f1"]["high"]
    assert told["found"] > 0.99
    assert told["decided"] >= told["decided_of_all"]


def test_kappa_and_confusion_are_those_of_scikit_learn(found: Matched) -> None:
    told = agreement(found)
    judged = found.judged
    assert told["kappa"] == pytest.approx(cohen_kappa_score(found.role[judged], found.named[judged]), abs=1e-4)
    for role in ("M", "X2", "vac_X"):
        one, other = found.role[judged] == role, found.named[judged] == role
        assert told["kappa_by_role"][role] == pytest.approx(cohen_kappa_score(one, other), abs=1e-4)
    assert np.sum(told["confusion_labelled_by_told"]) == judged.sum()


def test_the_page_and_the_demands_are_made_of_the_figures(found: Matched) -> None:
    run = {**figures(found), "flags": {}, "undecided": 0, "warnings": [], "x2_over_m": 0.8}
    frame = {
        "refusal": "not a lattice",
        "code": "no_lattice",
        "sites": 0,
        "flags": {},
        "reasons": {},
        "warnings": [],
    }
    words = (
        "vac_S is not called in this frame: it is 1.8 spreads of the S2 columns away from them, 3 are needed"
    )
    judged = {
        **frame,
        "refusal": None,
        "code": None,
        "sites": 9,
        "reasons": {words: 2},
        "warnings": [words + "."],
    }
    told = {
        "model": "a model",
        "ti_wse2": {f"{d} {k}": run for d in ("ADF1", "ADF2", "both") for k in ("live", "thorough")},
        "third_population": {
            "centre": [0.52, 0.5],
            "half_width": 0.1,
            "sites": 2,
            "said": {"O_Se (flag)": 2},
            "as_o_or_as_both": 2,
            "vac_Se_or_O_Se_above_half": 2,
            "mean_probability": {"O_Se": 0.9},
        },
        "prevalence": {
            "default": {"Se2": 0.96, "vac_Se": 0.03},
            "estimated": {"Se2": 0.95, "vac_Se": 0.04},
            "words": ["Prior estimated from the image."],
            "decisions_changed": 1,
        },
        "frames": {
            "MoS2 at 60 kV": judged,
            "MoSe2 grain boundary": frame,
            "Re on carbon": frame,
            "Ti:WSe2 ADF1 declared as MoS2": frame,
        },
    }
    rows = must_show(told)
    met = {r["what"]: r["met"] for r in rows}
    assert met["Re on carbon"]
    assert met["60 kV MoS2: single S vacancies refused"]
    assert not met["Ti:WSe2 ADF1 declared as MoS2"], "refused, but not by the host check"
    text = page({**told, "must_show": rows})
    assert "| ADF1 thorough |" in text
    assert "1.8 spreads" in text
    assert "not a lattice" in text


def test_a_folder_without_the_frames_is_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"TiWSe2_1028_2_ADF1\.tif"):
        ti_wse2(tmp_path, "ADF1")
    with pytest.raises(InputError, match=r"labels\.csv"):
        ti_wse2_labels(tmp_path)


def test_the_command_teaches_by_an_example() -> None:
    app = Typer()
    register(app)
    app.callback()(lambda: None)
    told = CliRunner().invoke(app, ["real", "--help"])
    assert told.exit_code == 0
    assert "stemctx real" in told.output
