"""The prior over classes: set by the user, estimated from the image, and shown with what it changes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role, candidates, priors
from stemctx_core.chemistry.prevalence import (
    Expected,
    check_prevalence,
    estimate,
    parse_prevalence,
    reweighted,
    uniform,
)
from stemctx_core.classifier.classifier import Classifier, load_bundle
from stemctx_core.context import ImagingContext
from stemctx_core.errors import InputError
from stemctx_core.following.field_memory import FieldMemory
from stemctx_core.results import FrameIdentity
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of

LISTED = candidates("WSe2", ["V"])
SPECIES = [c.species for c in LISTED]


def test_roles_and_species_may_be_named() -> None:
    given = parse_prevalence(["vac_Se=0.05", "D_M=0.002"])
    rates = dict(zip(SPECIES, priors(LISTED, given), strict=True))
    assert rates["vac_Se"] == 0.05
    assert rates["V_W"] == 0.002
    assert rates["O_Se"] == 0.01, "what is not named keeps its default"
    assert rates["Se2"] == pytest.approx(1 - 0.05 - 0.003 - 0.01)
    two = candidates("WSe2", ["V", "Nb"])
    split = dict(zip((c.species for c in two), priors(two, {"V_W": 0.03}), strict=True))
    assert split["V_W"] == 0.03
    assert split["Nb_W"] == 0.01


@pytest.mark.parametrize(
    "words", ["vac_Se", "vac_Se=", "=0.1", "vac_Se=2", "vac_Se=-0.1", "vac_Se=nan", "vac_Se=0"]
)
def test_what_is_no_rate_is_refused(words: str) -> None:
    with pytest.raises(InputError, match="no prevalence"):
        parse_prevalence([words])


def test_unknown_names_and_rates_that_leave_no_host_are_refused() -> None:
    with pytest.raises(InputError, match="vac_S'"):
        check_prevalence({"vac_S": 0.1}, LISTED)
    with pytest.raises(InputError, match="leave nothing"):
        check_prevalence({"vac_Se": 0.6, "O_Se": 0.5}, LISTED)
    check_prevalence({Role.DOPANT: 0.1, "V_W": 0.2}, LISTED)


def drawn(rates: dict[str, float], apart: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods of sites whose candidates are Gaussians `apart` standard deviations from each other."""
    rng = np.random.default_rng(seed)
    sublattice = np.repeat([0, 1], n).astype(np.int8)
    log_likelihood = np.zeros((2 * n, len(LISTED)))
    prior = np.array(priors(LISTED, rates))
    for code, kind in enumerate(("M", "X")):
        rows = [k for k, c in enumerate(LISTED) if c.sublattice.value == kind]
        true = rng.choice(len(rows), n, p=prior[rows])
        value = true * apart + rng.normal(size=n)
        log_likelihood[np.ix_(sublattice == code, rows)] = (
            -0.5 * (value[:, None] - np.arange(len(rows)) * apart) ** 2
        )
    return log_likelihood, sublattice


def test_rates_are_found_from_the_image_with_intervals_that_hold_the_truth() -> None:
    true = {"vac_Se": 0.06, "O_Se": 0.02, "V_W": 0.03, "vac_W": 0.005, "vac_Se2": 0.01}
    held = total = 0
    for seed in range(8):
        found = estimate(*drawn(true, 5.0, 3000, seed), LISTED)
        assert found.prevalence["vac_Se"] == pytest.approx(0.06, abs=0.015)
        for rate in found.rates:
            (species,) = rate.species
            held += rate.low <= true[species] <= rate.high
            total += 1
    assert held / total > 0.85


def test_species_that_overlap_are_counted_together_and_share_as_before() -> None:
    rng = np.random.default_rng(3)
    log_likelihood, sublattice = drawn({"vac_Se": 0.08}, 6.0, 2000, 4)
    vacancy, oxygen = SPECIES.index("vac_Se"), SPECIES.index("O_Se")
    log_likelihood[:, oxygen] = log_likelihood[:, vacancy] + rng.normal(0, 0.1, len(log_likelihood))
    found = estimate(log_likelihood, sublattice, LISTED)
    together = next(r for r in found.rates if "vac_Se" in r.species)
    assert set(together.species) == {"vac_Se", "O_Se"}
    assert together.value == pytest.approx(0.08, abs=0.02)
    assert found.prevalence["vac_Se"] == pytest.approx(3 * found.prevalence["O_Se"], rel=1e-6)


def test_a_posterior_is_weighed_anew() -> None:
    prior = np.array(priors(LISTED))
    likelihood = np.array([[0, 0, 0, 0.2, 0.7, 0.05, 0.05]])
    posterior = likelihood * prior / (likelihood * prior).sum()
    np.testing.assert_allclose(reweighted(posterior, prior, uniform(LISTED)), likelihood, rtol=1e-6)


def expecting(context: ImagingContext, text: str) -> ImagingContext:
    return msgspec.structs.replace(context, expected=Expected.parse(text))


def test_what_is_expected_is_said_in_words() -> None:
    assert Expected.parse(" vac_Se=0.03, V=0.01 ,from image") == Expected((("vac_Se", 0.03), ("V", 0.01)), True)
    assert str(Expected.parse("V=0.01; from image")) == "V=0.01, from image"
    assert Expected.parse("  ") == Expected()
    for text in ("V", "V=2", "from somewhere"):
        with pytest.raises(InputError, match="is no prevalence"):
            Expected.parse(text)


def test_a_prior_that_is_changed_keeps_what_the_frames_before_showed() -> None:
    recipe = FrameRecipe(shape=(160, 160), dose_e_per_angstrom2=3e4, seed=5)
    image, context = make_frame(recipe).image, context_of(recipe)
    memory = FieldMemory(FrameAnalyzer.shipped())
    for number, text in enumerate(("", "vac_Se=0.3", "from image")):
        frame = FrameIdentity("s", number, recipe.shape[0], recipe.shape)
        result = memory.analyze(image, expecting(context, text), frame)
        assert result.frames_accumulated == number + 1


def test_every_row_says_what_the_prior_did() -> None:
    recipe = FrameRecipe(shape=(160, 160), dose_e_per_angstrom2=3e4, seed=5)
    image, context = make_frame(recipe).image, context_of(recipe)
    analyzer = FrameAnalyzer(Classifier(load_bundle()))
    by_default = analyzer.analyze(image, context)
    by_user = analyzer.analyze(image, expecting(context, "vac_Se=0.3"))
    assert by_user.prior[[c.species for c in by_user.candidates].index("vac_Se")] == 0.3
    for mine, default in zip(by_user.rows(), by_default.rows(), strict=True):
        if mine["species"] == default["species"]:
            assert mine["probability_default_prior"] == pytest.approx(default["probability"], abs=2e-4)
            assert mine["probability_uniform_prior"] == default["probability_uniform_prior"] or (
                mine["probability_uniform_prior"]
                == pytest.approx(default["probability_uniform_prior"], abs=1e-3)
            )
        assert default["probability"] == pytest.approx(default["probability_default_prior"], abs=1e-4)
    unknown = replace(by_user, prior=())
    assert {row["probability_default_prior"] for row in unknown.rows()} == {""}


def test_a_frame_may_be_judged_by_its_own_rates() -> None:
    recipe = FrameRecipe(shape=(200, 200), dose_e_per_angstrom2=5e4, seed=6)
    context = expecting(context_of(recipe), "from image")
    result = FrameAnalyzer(Classifier(load_bundle())).analyze(make_frame(recipe).image, context)
    assert any(w.startswith("Prior estimated from the image:") for w in result.warnings)
    assert result.prior != priors(result.candidates)


def test_a_prevalence_of_another_material_is_a_refusal() -> None:
    recipe = FrameRecipe(shape=(128, 128), seed=7)
    context = expecting(context_of(recipe), "vac_Te=0.1")
    result = FrameAnalyzer(Classifier(load_bundle())).analyze(make_frame(recipe).image, context)
    assert result.refusal is not None
    assert "vac_Te" in result.refusal.reason
