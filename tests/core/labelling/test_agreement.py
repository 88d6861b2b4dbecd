"""Figures of agreement against scikit-learn and statsmodels, and what is told of whole sets of labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, matthews_corrcoef
from typer.testing import CliRunner

from stemctx_core.agreement import commands
from stemctx_core.agreement.figures import (
    accuracy,
    cohen_kappa,
    fleiss_kappa,
    matthews,
    pabak,
    pairs_that_agree,
)
from stemctx_core.agreement.measuring import LEAST_FRAMES, Bootstrap
from stemctx_core.agreement.ratings import ALL_SITES, DECIDED, MAJORITY, MODEL, majority, tables
from stemctx_core.agreement.report import Kind, Pair, report
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.errors import InputError
from stemctx_core.labelling.sheet import Row, write_sheet
from stemctx_core.results import Decision

CLASSES = ("Se2", "vac_Se", "vac_Se2", "O_Se", "other")


def row(
    site: int, annotator: str, label: str, model: str = "Se2", inclusion: float | None = None, frame: int = 0,
    decision: Decision = Decision.PASS, time: str = "2026-01-01",
) -> Row:  # fmt: skip
    return Row(
        frame=f"{frame}.tif", frame_sha256=f"{frame:064d}", y_px=float(site), x_px=0.0, sublattice=Sublattice.CHALCOGEN,
        offered=" ".join(CLASSES), annotator=annotator, label=label, model=model, probability=0.9, decision=decision,
        stratum="", inclusion=inclusion, time_utc=time, seconds=1.0,
    )  # fmt: skip


def labelled(
    sites: int, error: dict[str, float], seed: int = 0, frames: int = 1, prevalence: float = 0.3
) -> tuple[list[Row], np.ndarray]:
    """Rows of people (and the model) who err at random, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(sites) < prevalence, rng.integers(1, 4, sites), 0)

    def said(rate: float) -> np.ndarray:
        return np.where(rng.random(sites) < rate, rng.integers(0, 4, sites), truth)

    model = said(error[MODEL])
    rows = [
        row(i, name, CLASSES[code], CLASSES[model[i]], frame=i * frames // sites)
        for name, rate in error.items()
        if name != MODEL
        for i, code in enumerate(said(rate))
    ]
    return rows, truth


def kind(rows: list[Row], name: str = "Se2 sites", **options: object) -> Kind:
    return next(k for k in report(rows, resamples=200, **options).kinds if k.name == name)  # type: ignore[arg-type]


def pair(of: Kind, first: str, second: str) -> Pair:
    return next(p for p in of.pairs if (p.first, p.second) == (first, second))


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(30, 200))
def test_two_raters_as_scikit_learn_has_it_with_and_without_weights(
    seed: int, classes: int, sites: int
) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, classes, sites)
    second = np.where(rng.random(sites) < 0.6, first, rng.integers(0, classes, sites))
    first[:classes] = second[:classes] = np.arange(classes)
    for weight in (np.ones(sites), rng.exponential(5, sites) + 0.01):
        table = confusion_matrix(first, second, sample_weight=weight)
        assert accuracy(table) == pytest.approx(accuracy_score(first, second, sample_weight=weight))
        assert cohen_kappa(table) == pytest.approx(cohen_kappa_score(first, second, sample_weight=weight))
        assert matthews(table) == pytest.approx(matthews_corrcoef(first, second, sample_weight=weight))


@given(arrays(np.int64, st.tuples(st.integers(1, 4), st.just(3), st.just(3)), elements=st.integers(0, 30)))
def test_a_whole_bootstrap_is_one_call(each: np.ndarray) -> None:
    for figure in (accuracy, cohen_kappa, matthews, pabak):
        np.testing.assert_allclose(figure(each), [figure(table) for table in each])
        finite = figure(each)[np.isfinite(figure(each))]
        assert ((finite >= -1 - 1e-9) & (finite <= 1 + 1e-9)).all()


@given(arrays(np.int64, (3, 3), elements=st.integers(0, 50)))
def test_agreement_does_not_depend_on_who_is_named_first_or_on_the_order_of_classes(table: np.ndarray) -> None:
    for figure in (accuracy, cohen_kappa, matthews, pabak):
        np.testing.assert_allclose(figure(table), figure(table.T))
        np.testing.assert_allclose(figure(table), figure(table[np.ix_([2, 0, 1], [2, 0, 1])]))
        np.testing.assert_allclose(figure(table), figure(7.5 * table))


def test_pabak_of_a_published_table() -> None:
    """Byrt et al. 1993, where kappa is low because the prevalence is extreme: for two classes it is 2 p_o - 1."""
    table = np.array([[118, 5], [2, 0]])
    assert cohen_kappa(table) == pytest.approx(-0.0234, abs=5e-4)
    assert pabak(table) == pytest.approx(2 * 118 / 125 - 1)
    assert pabak(np.eye(4) * 3) == 1


def test_figures_that_are_not_defined_are_nan() -> None:
    one = np.array([[9, 0], [0, 0]])
    assert np.isnan(cohen_kappa(one))
    assert np.isnan(matthews(one))
    assert accuracy(one) == pabak(one) == 1
    for figure in (accuracy, cohen_kappa, matthews, pabak):
        assert np.isnan(figure(np.zeros((2, 2))))


@pytest.mark.parametrize("raters", [2, 3, 7])
def test_many_raters_as_statsmodels_has_it(raters: int) -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater", reason="statsmodels is not installed")
    rng = np.random.default_rng(raters)
    truth = rng.integers(0, 4, 80)
    codes = np.where(rng.random((80, raters)) < 0.7, truth[:, None], rng.integers(0, 4, (80, raters)))
    counts, _ = inter_rater.aggregate_raters(codes)
    shares = (counts / raters).mean(axis=0)
    ours = fleiss_kappa(pairs_that_agree(counts).mean(), shares)
    assert ours == pytest.approx(inter_rater.fleiss_kappa(counts))


def test_fleiss_own_example() -> None:
    """Table 1 of J. L. Fleiss, Psychol. Bull. 76, 378 (1971), in the form in which textbooks have it: 0.210."""
    counts = np.array(
        [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
         [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    )  # fmt: skip
    kappa = fleiss_kappa(pairs_that_agree(counts).mean(), (counts / 14).mean(axis=0))
    assert kappa == pytest.approx(0.210, abs=5e-4)


def test_the_majority_is_more_than_half() -> None:
    codes = np.array([[0, 0, 1], [0, 1, 2], [2, -1, 2], [0, 1, -1], [-1, 3, -1], [-1, -1, -1]])
    assert majority(codes, 4).tolist() == [0, -1, 2, -1, 3, -1]


def test_a_report_finds_who_errs() -> None:
    rows, _ = labelled(800, {MODEL: 0.05, "Anna": 0.1, "Ben": 0.1, "Chen": 0.4})
    told = kind(rows)
    value = {(p.first, p.second): p.sample.kappa.value or 0 for p in told.pairs}
    assert value[MODEL, MAJORITY] > value[MODEL, "Anna"] > value[MODEL, "Chen"]
    assert value["Anna", "Ben"] > value["Anna", "Chen"]
    assert value["Anna", MAJORITY] > value["Chen", MAJORITY]
    assert told.panel is not None
    assert (told.panel.model_minus_people.low or 0) > 0
    rows, _ = labelled(800, {MODEL: 0.5, "Anna": 0.05, "Ben": 0.05})
    panel = kind(rows).panel
    assert panel is not None
    assert (panel.model_minus_people.high or 0) < 0


def test_the_tables_of_a_report_are_those_of_scikit_learn() -> None:
    rows, _ = labelled(300, {MODEL: 0.1, "Anna": 0.1, "Ben": 0.2})
    told = kind(rows)
    codes = {name: [r.label for r in rows if r.annotator == name] for name in ("Anna", "Ben")}
    model = [r.model for r in rows if r.annotator == "Anna"]
    for first, second, a, b in (
        ("Anna", "Ben", codes["Anna"], codes["Ben"]),
        (MODEL, "Ben", model, codes["Ben"]),
    ):
        found = pair(told, first, second).sample
        np.testing.assert_allclose(found.confusion, confusion_matrix(a, b, labels=list(CLASSES)))
        assert found.kappa.value == pytest.approx(cohen_kappa_score(a, b))
        assert found.mcc.value == pytest.approx(matthews_corrcoef(a, b))
        assert found.accuracy.value == pytest.approx(accuracy_score(a, b))


def test_weights_give_what_labelling_every_site_would() -> None:
    """Defects drawn often, host columns seldom: weighted, the figures are those of all sites."""
    everything, _ = labelled(20_000, {MODEL: 0.04, "Anna": 0.06}, prevalence=0.03)
    whole = pair(kind(everything), MODEL, "Anna").sample
    rng = np.random.default_rng(1)
    drawn = []
    for one in everything:
        inclusion = 0.05 if one.model == "Se2" else 0.8
        if rng.random() < inclusion:
            place = int(one.y_px)
            drawn.append(row(place, "Anna", one.label, one.model, inclusion))
    found = pair(kind(drawn), MODEL, "Anna")
    assert found.population is not None
    for name in ("accuracy", "kappa"):
        true = getattr(whole, name).value
        weighted, plain = getattr(found.population, name), getattr(found.sample, name)
        assert weighted.low <= true <= weighted.high
        assert abs(weighted.value - true) < abs(plain.value - true)
    assert sum(map(sum, found.population.confusion)) == pytest.approx(20_000, rel=0.1)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Accuracy of a rater with a known error, 95 %: of 80 intervals, at least 68 (a chance of 1e-4 to be below)."""
    inside = 0
    for seed in range(80):
        rows, _ = labelled(150, {MODEL: 0.0, "Anna": 0.2}, seed)
        found = pair(kind(rows), MODEL, "Anna").sample.accuracy
        inside += (found.low or 0) <= 1 - 0.2 * 3 / 4 <= (found.high or 0)
    assert inside >= 68


def test_frames_are_drawn_where_there_are_enough_and_make_wider_intervals() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for frame in range(2 * LEAST_FRAMES):
        error = rng.choice([0.0, 0.6])  # all sites of a frame are hard or easy
        for site in range(30):
            wrong = rng.random() < error
            rows.append(row(site, "Anna", "vac_Se" if wrong else "Se2", frame=frame))
    by_frames, by_patches = kind(rows), kind(rows, unit="patches")
    assert (by_frames.unit, by_patches.unit) == ("frames", "patches")
    widths = [
        (found.high or 0) - (found.low or 0)
        for found in (pair(k, MODEL, "Anna").sample.accuracy for k in (by_frames, by_patches))
    ]
    assert widths[0] > 1.5 * widths[1]
    few, _ = labelled(100, {MODEL: 0.1, "Anna": 0.1}, frames=LEAST_FRAMES - 1)
    assert kind(few).unit == "patches"


def test_a_bootstrap_is_repeatable_and_its_totals_are_those_of_its_draws() -> None:
    rows, _ = labelled(60, {MODEL: 0.1, "Anna": 0.1}, frames=12)
    table = tables(rows)[0]
    first, again = (Bootstrap(table, "frames", 50, 3).totals(np.ones((60, 2))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, 60)  # frames of five sites each
    with pytest.raises(InputError, match="Choose frames"):
        Bootstrap(table, "sites", 50, 3)


def test_all_sites_are_asked_for_a_defect_only() -> None:
    rows = [row(0, "Anna", "vac_Se", "O_Se"), row(1, "Anna", "Se2", "Se2"), row(2, "Anna", "other", "Se2")]
    found = pair(kind(rows, ALL_SITES), MODEL, "Anna").sample
    assert found.confusion == [[1, 1], [0, 1]]
    assert pair(kind(rows), MODEL, "Anna").sample.accuracy.value == pytest.approx(1 / 3)


def test_sites_that_the_model_left_undecided_count_for_one_row_only() -> None:
    rows = [
        row(0, "Anna", "vac_Se", "O_Se", decision=Decision.ABSTAIN),
        row(1, "Anna", "vac_Se", "vac_Se", decision=Decision.FLAG),
        row(2, "Anna", "Se2", "Se2"),
    ]
    assert pair(kind(rows), MODEL, "Anna").sample.sites == 3
    decided = pair(kind(rows), DECIDED, "Anna").sample
    assert (decided.sites, decided.accuracy.value) == (2, 1.0)


def test_a_skip_is_no_answer_and_the_latest_answer_counts() -> None:
    rows = [
        row(0, "Anna", "vac_Se", time="2026-01-02"), row(0, "Anna", "Se2", time="2026-01-01"),
        row(1, "Anna", "Se2", time="2026-01-01"), row(1, "Anna", "", time="2026-01-02"),
        row(0, "Ben", "vac_Se"), row(1, "Ben", "Se2"), row(2, "Ben", ""),
    ]  # fmt: skip
    told = kind(rows)
    assert told.people == {"Anna": 1, "Ben": 2}
    assert pair(told, "Anna", "Ben").sample.confusion[1][1] == 1
    assert told.sites == 2


def test_nobody_and_what_cannot_be_said_are_errors() -> None:
    with pytest.raises(InputError, match="Nobody"):
        tables([row(0, "Anna", "")])
    with pytest.raises(InputError, match="'W' was said"):
        tables([row(0, "Anna", "W")])


def run(*arguments: str) -> str:
    app = typer.Typer()
    commands.register(app)
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_prints_tables_and_json_and_writes_one_page(tmp_path: Path) -> None:
    rows, _ = labelled(120, {MODEL: 0.1, "Anna": 0.1, "Ben <b>": 0.2, "Chen": 0.2})
    write_sheet(tmp_path / "labels.csv", rows)
    told = run(str(tmp_path / "labels.csv"), "--resamples", "200", "--html", str(tmp_path / "report.html"))
    assert "Se2 sites: 120 labelled sites" in told
    assert "Fleiss' kappa of 3 people" in told
    found = json.loads(run(str(tmp_path / "labels.csv"), "--resamples", "200", "--json"))
    assert [k["name"] for k in found["kinds"]] == ["Se2 sites", ALL_SITES]
    page = (tmp_path / "report.html").read_text()
    assert "Ben &lt;b&gt;" in page
    assert "<b>" not in page.replace("<b>0", "").replace("<b>−", "").replace("<b>–", "").replace("<b>1", "")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page
