"""Simulated frames against measured ones: distances, their chance, and a fit that closes the gap."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance
from typer.testing import CliRunner

from stemctx_core.chemistry import materials
from stemctx_core.comparing.commands import register
from stemctx_core.comparing.comparison import DISTANCES, Comparison, Frames, as_json, compare
from stemctx_core.comparing.distances import frechet, kernel_distance, wasserstein
from stemctx_core.comparing.gap import gap
from stemctx_core.comparing.shares import noise_shares
from stemctx_core.comparing.views import FrameView, frame_view
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.errors import InputError
from stemctx_core.estimating.host_lattice import host_lattice
from stemctx_core.reading import read_micrograph
from stemctx_core.simulation.imaging import (
    AmorphousCarbon,
    AmplitudeNoise,
    Contamination,
    ImagingChain,
    PixelCorrelation,
    Step,
)
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics

LIBRARY = shipped_library()
WSE2 = materials.host("WSe2")
BASE = FrameRecipe(
    case=Case(WSE2, (), 80.0, 60.0, 160.0),
    shape=(360, 360),
    dose_e_per_angstrom2=1e4,
    sigma_angstrom=0.40,
    chain=ImagingChain((AmplitudeNoise(0.05, 0.0),)),
)


def context(inner: float | None = 60.0, outer: float | None = 160.0) -> ImagingContext:
    return ImagingContext("WSe2", (), *(known(v, Source.USER) for v in (80.0, 30.0, inner, outer)))


def image(seed: int, recipe: FrameRecipe = BASE) -> NDArray[np.float32]:
    return labelled_frame(LIBRARY, recipe, seed).images[0]


def viewed(frame: NDArray[np.float32]) -> FrameView:
    return frame_view(LIBRARY, host_lattice(LIBRARY, frame, context()))


def test_distances_are_those_of_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (400, 3)), rng.normal(0.3, 1.4, (300, 3))
    points = np.concatenate([one, other])
    block = np.concatenate([np.arange(400) % 8, 8 + np.arange(300) % 6])
    marked = np.arange(14) < 8

    covariance, more = np.cov(one.T, bias=True), np.cov(other.T, bias=True)
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(
        covariance + more - 2 * np.real(sqrtm(covariance @ more))
    )
    assert frechet(points, block, 14)(marked) == pytest.approx(expected, rel=1e-6)

    edges = np.linspace(-8, 8, 161)
    counts = np.array([np.histogram(points[block == b, 0], edges)[0] for b in range(14)], float)
    assert wasserstein(counts, 0.1)(marked) == pytest.approx(
        wasserstein_distance(one[:, 0], other[:, 0]), abs=0.03
    )

    apart = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    kernel = np.exp(-apart / np.median(apart))
    first = block < 8
    expected = (
        (kernel[np.ix_(first, first)].sum() - 400) / (400 * 399)
        + (kernel[np.ix_(~first, ~first)].sum() - 300) / (300 * 299)
        - 2 * kernel[np.ix_(first, ~first)].mean()
    )
    assert kernel_distance(points, block, 14)(marked) == pytest.approx(expected, abs=1e-5)


def test_halves_of_one_simulation_are_alike() -> None:
    chances = []
    for seed in range(6):
        whole = image(seed, msgspec.structs.replace(BASE, shape=(360, 640)))
        found = gap(viewed(whole[:, :320]), viewed(whole[:, 320:]), seed)
        chances.append([getattr(found, name).p for name in DISTANCES])
    p = np.array(chances)
    # 36 values that are uniform where nothing differs: 0.05 of them are below 0.05, and their mean is a half.
    assert np.count_nonzero(p < 0.05) <= 6
    assert 0.3 < p.mean() < 0.7
    assert p.min() > 1 / 401 or np.count_nonzero(p < 0.01) <= 1


@pytest.mark.parametrize(
    ("change", "seen_by"),
    [
        ({"sigma_angstrom": 0.43}, ("contrast", "frechet", "kernel")),
        ({"dose_e_per_angstrom2": 5e3}, ("noise", "kernel")),
        ({"case": Case(WSE2, (), 80.0, 50.0, 100.0)}, ("chalcogen", "frechet", "kernel")),
        ({"chain": ImagingChain((AmplitudeNoise(0.10, 0.0),))}, ("metal", "chalcogen", "noise", "kernel")),
    ],
)
def test_a_known_difference_is_found(change: dict[str, object], seen_by: tuple[str, ...]) -> None:
    found = gap(viewed(image(0)), viewed(image(1, msgspec.structs.replace(BASE, **change))))
    for name in seen_by:
        assert getattr(found, name).p < 0.01, name


@lru_cache(maxsize=1)
def closed() -> tuple[FrameRecipe, Comparison]:
    truth = msgspec.structs.replace(
        BASE,
        case=Case(WSE2, (), 80.0, 50.0, 110.0),
        sigma_angstrom=0.47,
        dose_e_per_angstrom2=5e3,
        chain=ImagingChain((AmplitudeNoise(0.08, 0.0),)),
    )
    frames = Frames(measured=image(1, truth), context=context(60.0, 140.0), simulated=image(0))
    return truth, compare(LIBRARY, frames)


def test_the_fit_recovers_what_was_changed() -> None:
    truth, found = closed()
    assert found.fitted is not None
    knobs = found.fitted.knobs
    assert knobs.sigma_angstrom == pytest.approx(truth.sigma_angstrom, abs=0.02)
    assert abs(np.log(knobs.dose_e_per_angstrom2 / truth.dose_e_per_angstrom2)) < np.log(1.6)
    assert knobs.amplitude_noise == pytest.approx(0.08, abs=0.025)
    optics = Optics(80.0, 30.0, knobs.inner_mrad, knobs.outer_mrad, 0.45)
    true_ratio = host_ratio(LIBRARY, WSE2, Optics(80.0, 30.0, 50.0, 110.0, 0.45))
    assert host_ratio(LIBRARY, WSE2, optics) == pytest.approx(true_ratio, rel=0.03)


def test_the_fit_closes_the_gap() -> None:
    _, found = closed()
    assert found.after is not None
    for name in DISTANCES:
        before, after = getattr(found.before, name), getattr(found.after, name)
        assert after.beyond_chance < 0.35 * before.beyond_chance or after.p > 0.05, name


def test_two_detectors_tell_common_noise_from_their_own() -> None:
    for common in (0.0, 0.08):
        chain = ImagingChain((AmplitudeNoise(common, 0.0), Contamination(0.05, 50.0), PixelCorrelation(0.3)))
        recipe = msgspec.structs.replace(BASE, second_detector_mrad=(40.0, 90.0), chain=chain)
        first, second = labelled_frame(LIBRARY, recipe, 3).images
        other = frame_view(LIBRARY, host_lattice(LIBRARY, second, context(40.0, 90.0)))
        shares = noise_shares(viewed(first), other)
        assert shares.common == pytest.approx(common, abs=0.02)
    with pytest.raises(InputError, match="one scan"):
        noise_shares(viewed(first), viewed(image(0)[:300, :300]))


def test_frames_of_two_hosts_and_small_ones_are_refused() -> None:
    seen = viewed(image(0))
    with pytest.raises(InputError, match="blocks"):
        gap(viewed(image(0)[:96, :96]), seen)


def test_the_command_writes_what_it_tells(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    sim, exp = tmp_path / "sim.npy", tmp_path / "exp.npy"
    np.save(sim, image(0))
    np.save(exp, image(1, msgspec.structs.replace(BASE, sigma_angstrom=0.45)))
    page, told = tmp_path / "gap.html", tmp_path / "gap.json"
    options = ["--host", "WSe2", "--high-tension-kv", "80", "--convergence-mrad", "30"]
    options += [
        "--inner-mrad",
        "60",
        "--outer-mrad",
        "160",
        "--no-fit",
        "--report",
        str(page),
        "--json",
        str(told),
    ]
    run = CliRunner().invoke(app, [str(sim), str(exp), *options], catch_exceptions=False)
    assert run.exit_code == 0
    assert "noise spectrum" in run.output
    found = json.loads(told.read_text())
    assert set(found["gap_before"]) == set(DISTANCES)
    assert found["summaries"]["measured"]["sigma_angstrom"] > found["summaries"]["simulated"]["sigma_angstrom"]
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 4
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    with pytest.raises(InputError, match="3 files"):
        CliRunner().invoke(app, [str(sim), str(exp), str(exp), *options], catch_exceptions=False)


@pytest.mark.real
def test_a_real_frame_comes_nearer_to_its_simulation(real_data: Path) -> None:
    frame = read_micrograph(real_data / "TiWSe2_1028_2_ADF1.tif").image
    found = compare(LIBRARY, Frames(measured=frame, context=context(50.0, 120.0)))
    assert found.after is not None
    assert any("do not fit" in words for words in found.warnings)
    for name in ("chalcogen", "noise", "frechet", "kernel"):
        assert getattr(found.after, name).beyond_chance < 0.6 * getattr(found.before, name).beyond_chance, name
    told = as_json(found)
    assert found.fitted is not None
    assert msgspec.convert(told["recipe"], FrameRecipe) == found.fitted.recipe


@pytest.mark.slow  # 36 pairs of frames, 60 s alone
@pytest.mark.timeout(1800)
def test_small_differences_are_found_by_features_or_by_evidence() -> None:
    """`pytest tests/core/experiment/test_comparing.py -k small -s` prints how often each distance finds what."""
    larger = msgspec.structs.replace(BASE, shape=(400, 400))

    def noisy(*more: Step, amplitude: float = 0.05) -> ImagingChain:
        return ImagingChain((*more, AmplitudeNoise(amplitude, 0.0)))

    changes: dict[str, dict[str, object]] = {
        "nothing": {},
        "source 0.41 for 0.40 Å": {"sigma_angstrom": 0.41},
        "dose 0.9 times": {"dose_e_per_angstrom2": 9e3},
        "amplitude noise 0.058 for 0.050": {"chain": noisy(amplitude=0.058)},
        "jitter 0.042 for 0.030 Å": {"crystal": CrystalRecipe(jitter_angstrom=0.042)},
        "amorphous carbon 0.05": {"chain": noisy(AmorphousCarbon(0.05))},
    }
    found = {}
    for words, change in changes.items():
        gaps = [
            gap(
                viewed(image(2 * k, larger)),
                viewed(image(2 * k + 1, msgspec.structs.replace(larger, **change))),
                k,
            )
            for k in range(6)
        ]
        found[words] = {n: np.mean([getattr(g, n).p < 0.05 for g in gaps]) for n in DISTANCES}
        print(f"\n{words}: " + ", ".join(f"{DISTANCES[n]} {v:.2f}" for n, v in found[words].items()))
    assert all(v <= 0.34 for v in found["nothing"].values())
    for words in ("source 0.41 for 0.40 Å", "amorphous carbon 0.05"):
        assert min(found[words]["frechet"], found[words]["kernel"]) >= 0.8
