"""What a frame offers for its own context: intervals that hold as often as they promise, and the ridge of angles."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.errors import FrameError
from stemctx_core.estimating.alike import LATTICE_CONSTANT_SD, imperfections
from stemctx_core.estimating.commands import register
from stemctx_core.estimating.offers import Offers, offers
from stemctx_core.estimating.quantities import Quantities, true_quantities, true_sigma_angstrom
from stemctx_core.estimating.ridge import find_ridge
from stemctx_core.reading import read_micrograph
from stemctx_core.simulation.imaging import EffectiveSource, ImagingChain
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics

LIBRARY = shipped_library()
FIELDS = ("ratio", "sigma_angstrom", "dose_e_per_angstrom2", "pixel_size_angstrom")


def context(host: str, inner: float | None, outer: float | None, pixel: float | None = None) -> ImagingContext:
    angles = (known(v, Source.USER) for v in (80.0, 30.0, inner, outer, pixel))
    return ImagingContext(host, (), *angles)


def drawn(seed: int) -> tuple[str, FrameRecipe, Quantities]:
    """A frame of one of three hosts, the lattice constant not quite the host's, and what is true of it."""
    rng = np.random.default_rng([seed, 5])
    name = ("WSe2", "MoSe2", "MoS2")[seed % 3]
    inner = float(rng.uniform(45, 80))
    outer = min(inner + float(rng.uniform(50, 110)), 195.0)
    host = materials.host(name)
    stretched = msgspec.structs.replace(
        host, a_angstrom=host.a_angstrom * (1 + LATTICE_CONSTANT_SD * float(rng.normal()))
    )
    recipe = FrameRecipe(
        Case(stretched, (), 80.0, inner, outer),
        shape=(256, 256),
        pixel_size_angstrom=float(rng.uniform(0.2, 0.28)),
        dose_e_per_angstrom2=float(10 ** rng.uniform(3.3, 4.7)),
        sigma_angstrom=float(rng.uniform(0.28, 0.45)),
        chain=imperfections(rng),
    )
    plain = msgspec.structs.replace(recipe, case=Case(host, (), 80.0, inner, outer))
    return name, recipe, true_quantities(LIBRARY, plain)


def image(seed: int) -> NDArray[np.floating]:
    return labelled_frame(LIBRARY, drawn(seed)[1], seed).images[0]


def on_ridge(found: Offers, inner: float, outer: float) -> bool:
    """Whether the nearest point of the map is allowed."""
    ridge = found.ridge
    row, column = (
        int(np.argmin(np.abs(a - v))) for a, v in ((ridge.inner_mrad, inner), (ridge.outer_mrad, outer))
    )
    return bool(ridge.fits[row, column])


@pytest.mark.slow  # 30 frames, each with 24 simulated ones of its own: 100 s alone
@pytest.mark.timeout(1800)
def test_nine_of_ten_intervals_hold() -> None:
    """`pytest tests/core/experiment/test_estimating.py -k nine -s` prints the coverage and the widths."""
    hits, widths = [], []
    for seed in range(30):
        name, recipe, truth = drawn(seed)
        angles = (recipe.case.inner_mrad, recipe.case.outer_mrad)
        declared = context(name, *(angles if seed % 2 else (None, None)))
        found = offers(LIBRARY, image(seed), declared, rehearsals=24, seed=seed)
        each = [getattr(found, field) for field in FIELDS]
        hits.append([o.holds(getattr(truth, f)) for o, f in zip(each, FIELDS, strict=True)])
        hits[-1].append(on_ridge(found, *angles))
        widths.append([np.log(o.high / o.low) / 2 for o in each])
    coverage, half = np.mean(hits, axis=0), np.median(widths, axis=0)
    for field, c, w in zip((*FIELDS, "angles on the ridge"), coverage, (*half, np.nan), strict=True):
        print(f"{field}: {c:.0%} of the 90 % intervals hold, ±{w:.1%}")
    # Of 30 intervals that hold with 0.9, 23 or fewer hold in one of fifty tests.
    assert (coverage >= 24 / 30).all()
    assert (half < (0.06, 0.08, 0.8, 0.03)).all()


def test_a_frame_with_known_angles_gets_its_values() -> None:
    name, recipe, truth = drawn(7)
    angles = (recipe.case.inner_mrad, recipe.case.outer_mrad)
    found = offers(LIBRARY, image(7), context(name, *angles), rehearsals=20)
    assert not found.objections
    assert found.sigma_angstrom.value == pytest.approx(truth.sigma_angstrom, rel=0.1)
    assert found.ratio.value == pytest.approx(truth.ratio, rel=0.06)
    assert on_ridge(found, *angles)
    inner, outer = found.ridge.nearest(*angles) or (0.0, 0.0)
    assert abs(inner - angles[0]) + abs(outer - angles[1]) < 25


def test_angles_that_the_frame_refutes_are_reported_and_not_built_upon() -> None:
    name, recipe, truth = drawn(1)
    found = offers(LIBRARY, image(1), context(name, 36.0, 62.0), rehearsals=20)
    assert any("36-62 mrad do not fit" in words for words in found.objections)
    assert found.ratio.value == pytest.approx(truth.ratio, rel=0.08)
    assert on_ridge(found, recipe.case.inner_mrad, recipe.case.outer_mrad)


def test_a_pixel_size_that_is_off_is_reported() -> None:
    name, recipe, _ = drawn(4)
    angles = (recipe.case.inner_mrad, recipe.case.outer_mrad)
    told = context(name, *angles, recipe.pixel_size_angstrom * 1.045)
    found = offers(LIBRARY, image(4), told, rehearsals=20)
    assert any("pixel size" in words for words in found.objections)
    assert found.pixel_size_angstrom.holds(recipe.pixel_size_angstrom)


def test_the_ridge_is_a_ridge() -> None:
    wse2, optics = materials.host("WSe2"), Optics(80.0, 30.0, 60.0, 150.0, 0.45)
    ridge = find_ridge(LIBRARY, wse2, optics, 0.9, 0.02)
    points = ridge.points()
    assert len(points) > 20
    # From one frame neither angle is known: each spans tens of milliradians.
    assert np.ptp(points[:, 1]) > 80
    assert sum(high - low for low, high in ridge.inner_intervals) > 10
    impossible = find_ridge(LIBRARY, wse2, optics, 9.0, 0.02)
    assert not impossible.inner_intervals
    assert impossible.nearest(60.0, 150.0) is None


def test_the_true_source_adds_what_the_chain_blurs() -> None:
    recipe = FrameRecipe(
        Case(materials.host("WSe2"), (), 80.0, 60.0, 150.0),
        sigma_angstrom=0.3,
        chain=ImagingChain((EffectiveSource(0.4, 0.4, coma_share=0.0),)),
    )
    assert true_sigma_angstrom(recipe) == pytest.approx(0.5)


def test_a_frame_without_a_lattice_is_refused() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (256, 256))
    with pytest.raises(FrameError):
        offers(LIBRARY, noise, context("WSe2", None, None))


def test_the_command_offers_and_takes_nothing(tmp_path: Path) -> None:
    name, _, _ = drawn(7)
    app = typer.Typer()
    register(app)
    frame, told, page = tmp_path / "frame.npy", tmp_path / "told.json", tmp_path / "told.html"
    np.save(frame, image(7))
    options = ["--host", name, "--high-tension-kv", "80", "--convergence-mrad", "30", "--rehearsals", "16"]
    run = CliRunner().invoke(
        app, [str(frame), *options, "--json", str(told), "--report", str(page)], catch_exceptions=False
    )
    assert run.exit_code == 0
    assert "cannot be told" in run.output
    assert "--pixel-size-angstrom" in run.output
    found = json.loads(told.read_text())
    lines = run.output[run.output.index("pixel_size_angstrom =") :]
    assert tomllib.loads(lines) == found["offered"]
    assert "data:image/png;base64," in page.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frame.npy", "told.html", "told.json"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("detector", "inside", "ratio"), [("ADF1", (60.0, 120.0), 0.88), ("ADF2", (35.0, 65.0), 1.5)]
)
def test_real_detectors_get_the_ridge_that_is_known(
    detector: str, inside: tuple[float, float], ratio: float, real_data: Path
) -> None:
    frame = read_micrograph(real_data / f"TiWSe2_1028_2_{detector}.tif").image
    found = offers(LIBRARY, frame, context("WSe2", None, None), rehearsals=16)
    assert found.ratio.value == pytest.approx(ratio, rel=0.05)
    assert on_ridge(found, *inside)
    # The lattice constant of the data's own description gives 0.382 Å.
    assert found.pixel_size_angstrom.holds(0.382)


#: 64 rehearsals give 0.4155 to 0.4439 Å; with 16 the interval ended at 0.4095 by chance.
_TOO_LARGE = pytest.mark.xfail(
    reason="the source size of ADF2 is estimated as 0.43 Å, above what is known of it"
)


@pytest.mark.real
@pytest.mark.parametrize("detector", ["ADF1", pytest.param("ADF2", marks=_TOO_LARGE)])
def test_real_detectors_get_the_source_size_that_is_known(detector: str, real_data: Path) -> None:
    frame = read_micrograph(real_data / f"TiWSe2_1028_2_{detector}.tif").image
    found = offers(LIBRARY, frame, context("WSe2", None, None), rehearsals=16)
    # The facts of the frame: 0.37 to 0.41 Å.
    assert found.sigma_angstrom.low < 0.41
