"""One look: colours stay apart for every reader, and stand in one module."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role, candidates
from stemctx_core.look.colour_vision import Vision, differences, rgb, seen
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS, SERIES, UNDECIDED, curve_colours, role_of

REPOSITORY = Path(__file__).parents[3]
#: Colours that differ by ten are told apart at a glance, far beyond the one or two that can just be told.
APART = 10.0


def nearest(colours: dict[str, str], vision: Vision) -> tuple[float, str]:
    names = list(colours)
    apart = differences(list(colours.values()), vision) + np.diag(np.full(len(names), np.inf))
    i, j = np.unravel_index(int(apart.argmin()), apart.shape)
    return float(apart[i, j]), f"{names[i]} and {names[j]}"


@pytest.mark.parametrize("vision", Vision)
def test_every_reader_tells_the_classes_apart(vision: Vision) -> None:
    shown = {ROLE_WORDS[role]: ROLE_COLOURS[role] for role in ROLE_WORDS}
    shown |= {"host": ROLE_COLOURS[Role.METAL], "undecided": UNDECIDED}
    distance, which = nearest(shown, vision)
    print(f"\n{vision}: the nearest are {which}, {distance:.1f}")
    assert distance > APART


@pytest.mark.parametrize("vision", Vision)
def test_every_reader_tells_the_lines_of_a_plot_apart(vision: Vision) -> None:
    distance, which = nearest({c: c for c in SERIES}, vision)
    assert distance > APART, which


def test_grey_is_grey_for_everyone_and_red_and_green_are_not() -> None:
    grey = rgb(["#808080"])
    for vision in Vision:
        np.testing.assert_allclose(seen(grey, vision), grey, atol=0.005)
    red_and_green = ["#C04040", "#6A7A30"]
    assert differences(red_and_green)[0, 1] > 40
    assert differences(red_and_green, Vision.DEUTERANOPIA)[0, 1] < 15


def test_the_difference_is_that_of_the_standard() -> None:
    """Two pairs of Sharma, Wu and Dalal, Color Res. Appl. 30, 21 (2005), table 1."""
    assert deltaE_ciede2000([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485]) == pytest.approx(2.0425, abs=1e-4)
    assert deltaE_ciede2000([2.0776, 0.0795, -1.1350], [0.9033, -0.0636, -0.5514]) == pytest.approx(
        0.9082, abs=1e-4
    )


@pytest.mark.parametrize("host", materials.hosts())
def test_a_species_says_its_role(host: str) -> None:
    own = materials.host(host)
    others = tuple(x for x in ("S", "Se", "Te") if x != own.chalcogen)
    dopants = tuple(d for d in ("V", "Re", "Mo", "W") if d != own.metal)
    for candidate in candidates(host, dopants, others, antisites=True, complexes=True):
        assert role_of(candidate.species) is (candidate.role if candidate.is_defect else None), (
            candidate.species
        )


def test_a_curve_of_a_species_has_the_colour_of_its_role() -> None:
    assert curve_colours(("vac_Se", "V_W")) == (ROLE_COLOURS[Role.CHALCOGEN_VACANCY], ROLE_COLOURS[Role.DOPANT])
    two = curve_colours(("V_W", "Re_W", "latency (ms)"))
    assert two[0] == ROLE_COLOURS[Role.DOPANT]
    assert len(set(two)) == 3
    assert set(two[1:]) <= set(SERIES)
    assert len(curve_colours(tuple("abcdefghijklmnop"))) == 16


def test_colours_stand_in_one_module() -> None:
    """A colour that is written by hand elsewhere would go its own way."""
    allowed = {"colours.py", "report_page.py"}  # a page's style sheet is text
    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for folder in ("stemctx_core", "realtime", "sim", "nionswift_plugin")
        for path in (REPOSITORY / folder).rglob("*.py")
        if path.name not in allowed
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"""["']#[0-9A-Fa-f]{6}["']""", line)
    ]
    assert found == []


def test_the_swatches_are_those_of_the_documentation() -> None:
    """Compared as pixels, coarsely: another Matplotlib draws letters a little differently."""
    import io

    from PIL import Image

    from stemctx_core.look.swatches import swatches_png

    def coarse(picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.convert("RGB").resize((60, 30), Image.Resampling.BOX), float)

    drawn = Image.open(io.BytesIO(swatches_png()))
    with Image.open(REPOSITORY / "docs" / "images" / "class_colours.png") as kept:
        difference = np.abs(coarse(drawn) - coarse(kept))
    assert np.median(difference) < 1.0
    assert difference.mean() < 4.0
