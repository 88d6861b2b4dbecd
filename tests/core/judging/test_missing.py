"""Frames whose optics are not known: named by what is plausible, or refused where nothing in them tells the metal."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Missing
from tests.core.frames import HAADF, MAADF, FrameRecipe, make_frame, score
from tests.core.judging.test_analysis import context_of

ANGLES = ("inner_mrad", "outer_mrad")
EVERYTHING = (*ANGLES, "high_tension_kv", "convergence_semi_angle_mrad")
RATHER_FEW = {Role.DOPANT: 0.02, Role.CHALCOGEN_VACANCY: 0.005}


def without(context: ImagingContext, names: tuple[str, ...]) -> ImagingContext:
    return msgspec.structs.replace(context, **dict.fromkeys(names, Missing("nobody said")))


@pytest.mark.parametrize("host", ["WSe2", "MoS2", "WS2"])
@pytest.mark.parametrize("names", [ANGLES, EVERYTHING], ids=["angles", "everything"])
def test_a_frame_of_few_vacancies_is_named_by_what_is_plausible(host: str, names: tuple[str, ...]) -> None:
    """In sulphides no detector lets X2 outshine the metal as much as the metal outshines X2 here; in WSe2 one nearly does."""
    recipe = FrameRecipe(
        host=host, optics=HAADF, shape=(256, 256), dose_e_per_angstrom2=5e4, prevalence=RATHER_FEW, seed=11
    )
    frame = make_frame(recipe)
    result = FrameAnalyzer.shipped().analyze(frame.image, without(context_of(recipe), names))
    if host == "WSe2":
        assert result.refusal is not None
        assert result.refusal.code == "sublattices"
        return
    assert result.refusal is None
    found = score(frame, np.stack([result.sites.y_px, result.sites.x_px], axis=1), result.sites.sublattice)
    assert found.naming == 1.0


def test_a_frame_that_does_not_tell_the_metal_is_refused_without_angles() -> None:
    recipe = FrameRecipe(
        optics=MAADF, shape=(256, 256), dose_e_per_angstrom2=5e4, prevalence={Role.DOPANT: 0.0}, seed=3
    )
    analyzer, image, context = FrameAnalyzer.shipped(), make_frame(recipe).image, context_of(recipe)
    told = analyzer.analyze(image, context)
    assert told.refusal is None
    assert any("wrong way round" in words for words in told.warnings)
    refused = analyzer.analyze(image, without(context, ANGLES))
    assert refused.refusal is not None
    assert refused.refusal.code == "sublattices"
    assert "angles" in refused.refusal.fix
