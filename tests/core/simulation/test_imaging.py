"""Every imaging step does what its parameters say, and a chain is rebuilt from its record."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from stemctx_core.errors import InputError
from stemctx_core.simulation.imaging import (
    Afterglow,
    AmorphousCarbon,
    AmplitudeNoise,
    Contamination,
    Drift,
    EffectiveSource,
    Flyback,
    Gain,
    Haze,
    ImagingChain,
    LineJitter,
    PixelCorrelation,
    Quantisation,
    ReadoutNoise,
    Saturation,
    Scan,
    Spikes,
    Stage,
    Warp,
)

PX = 0.2


def scan(
    shape: tuple[int, int] = (512, 512), detectors: int = 2, seed: int = 0, dose: float = 1e4, **more: object
) -> Scan:
    return Scan(shape, PX, (0.02, 0.05)[:detectors], dose, seed, **more)  # type: ignore[arg-type]


def flat(of: Scan, value: float = 1.0) -> np.ndarray:
    """Images as bright as the host's brighter column."""
    return np.ones((len(of.reference), *of.shape), np.float32) * of.reference_column * np.float32(value)


def spot(of: Scan, sigma_angstrom: float = 0.6) -> np.ndarray:
    y, x = (np.arange(n) - n // 2 for n in of.shape)
    one = np.exp(-(y[:, None] ** 2 + x[None] ** 2) * PX**2 / (2 * sigma_angstrom**2))
    return (one[None] * of.reference_column).astype(np.float32)


def moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass (Å from the middle) and covariance (Å²), y before x."""
    weight = image / image.sum()
    y, x = np.meshgrid(*((np.arange(n) - n // 2) * PX for n in image.shape), indexing="ij")
    centre = np.array([(weight * y).sum(), (weight * x).sum()])
    dy, dx = y - centre[0], x - centre[1]
    return centre, np.array(
        [
            [(weight * dy * dy).sum(), (weight * dy * dx).sum()],
            [(weight * dy * dx).sum(), (weight * dx * dx).sum()],
        ]
    )


# --- positions


@given(st.floats(-30, 30), st.floats(-30, 30))
@settings(max_examples=30, deadline=None)
def test_drift_moves_a_column_by_the_time_at_which_its_row_is_scanned(along_y: float, along_x: float) -> None:
    s = scan()
    start = np.array([[0.0, 10.0], [100.0, 50.0], [400.0, 200.0]])
    met = start + Drift((along_y, along_x)).displacement_px(start, s)
    time = met[:, :1] / s.shape[0]
    np.testing.assert_allclose(met - start, time * np.array([[along_y, along_x]]) / PX, atol=1e-9)


def test_warp_has_the_stated_amplitude_and_is_smooth() -> None:
    s = scan()
    grid = np.stack(np.meshgrid(*(np.arange(0, 2000, 5.0),) * 2, indexing="ij"), axis=-1)
    moved = Warp(0.5, 200.0).displacement_px(grid.reshape(-1, 2), s).reshape(grid.shape) * PX
    assert moved.std() == pytest.approx(0.5, rel=0.25)
    steepest = np.abs(np.diff(moved, axis=0)).max() / (5 * PX)
    assert steepest < 8 * 2 * np.pi / 200 * 0.5


def test_flyback_pulls_the_left_of_the_frame_to_the_left() -> None:
    moved = Flyback(1.5, 20.0).displacement_px(np.array([[5.0, 0.0], [5.0, 20.0], [5.0, 400.0]]), scan())
    np.testing.assert_allclose(moved[:, 1] * PX, [-1.5, -1.5 / np.e, 0], atol=1e-6)
    assert not moved[:, 0].any()


def test_scan_lines_jitter_as_much_and_as_slowly_as_stated() -> None:
    s = scan((20000, 4))
    offset = LineJitter((0.05, 0.1), 0.6).row_offset_px(s) * PX
    np.testing.assert_allclose(offset.std(axis=0), [0.05, 0.1], rtol=0.05)
    assert np.corrcoef(offset[1:, 1], offset[:-1, 1])[0, 1] == pytest.approx(0.6, abs=0.03)


def test_jitter_moves_whole_rows_by_their_offset() -> None:
    s = scan((64, 256), detectors=1)
    step = LineJitter((0.0, 0.4), 0.0)
    # A vertical wall of light shows the offset of every row.
    wall = np.broadcast_to(np.exp(-(((np.arange(256) - 128) * PX) ** 2) / 2), (1, 64, 256)).astype(np.float32)
    moved = ImagingChain((step,)).intensities(np.ascontiguousarray(wall), s)[0]
    centre = (moved * np.arange(256)).sum(axis=1) / moved.sum(axis=1) - 128
    np.testing.assert_allclose(centre, step.row_offset_px(s)[:, 1], atol=0.01)


# --- intensity


def test_the_source_widens_along_its_azimuth_and_leaves_columns_where_they_are() -> None:
    s = scan((257, 257))
    before = spot(s)
    step = EffectiveSource(0.5, 0.1, np.pi / 2, 0.0, 0.0, 0.0)
    centre, widened = moments(step.apply(before, s)[1])
    _, was = moments(before[1])
    np.testing.assert_allclose(np.diag(widened - was), [0.25, 0.01], atol=2e-3)
    np.testing.assert_allclose(centre, 0, atol=1e-3)


def test_coma_is_one_sided_keeps_the_light_and_the_centre_and_is_never_negative() -> None:
    s = scan((257, 257))
    before = spot(s)
    after = EffectiveSource(0.2, 0.05, 0.3, 0.3, 1.0, 0.0).apply(before, s)
    np.testing.assert_allclose(after.sum(axis=(1, 2)), before.sum(axis=(1, 2)), rtol=1e-4)
    centre, _ = moments(after[0])
    np.testing.assert_allclose(centre, 0, atol=2e-3)
    x = (np.arange(257) - 128) * PX
    third = (after[0].sum(axis=0) * x**3).sum() / after[0].sum()
    assert third > 0.1
    assert after.min() > -1e-5 * after.max()


def test_fields_have_the_stated_height_in_every_detector() -> None:
    s = scan((512, 512))
    nothing = np.zeros((2, *s.shape), np.float32)
    haze = Haze(0.4, 0.5, 0.0).apply(nothing, s)
    np.testing.assert_allclose(haze.mean(axis=(1, 2)) / s.reference, 0.4, rtol=1e-3)
    assert haze[0, 0, -1] / haze[0, 0, 0] == pytest.approx(1.25 / 0.75, rel=1e-3)
    dirt = Contamination(0.3, 20.0, 0.4).apply(nothing, s)
    covered = dirt[0] > 0
    assert covered.mean() == pytest.approx(0.4, abs=0.02)
    assert dirt[0][covered].mean() / s.reference[0] == pytest.approx(0.3, rel=0.01)
    np.testing.assert_allclose(dirt[1] / s.reference[1], dirt[0] / s.reference[0], rtol=1e-4)
    film = AmorphousCarbon(0.1, 0.3, 0.7).apply(nothing, s)[0] / s.reference[0]
    assert film.mean() == pytest.approx(0.1, rel=0.03)
    assert film.std() / film.mean() == pytest.approx(0.3, rel=0.05)
    # Grains of a light atom's size: at twice their width they no longer know of each other.
    grains = film - film.mean()
    assert (grains[:, 14:] * grains[:, :-14]).mean() / grains.var() < 0.1


def test_dirt_needs_something_to_lie_on() -> None:
    covered = np.ones((128, 128), np.float32)
    covered[:, 64:] = 0
    s = scan((128, 128), covered=covered)
    nothing = np.zeros((2, *s.shape), np.float32)
    for step in (Contamination(coverage=0.9), AmorphousCarbon()):
        field = step.apply(nothing, s)
        assert not field[:, :, 64:].any()
        assert field[:, :, :64].any()


# --- beam and signal


def test_amplitude_noise_is_shared_and_correlated_along_the_fast_axis_as_stated() -> None:
    s = scan((1024, 1024))
    step = AmplitudeNoise(common=0.07, independent=0.06, fast_correlation=0.2)
    after = step.apply(flat(s), s) / s.reference_column - 1
    # As columns are measured: means over a footprint of 0.5 Å.
    one, two = (gaussian_filter(d.astype(float), 0.5 / PX, mode="wrap") for d in after)
    print(f"\ncolumn sd {one.std():.4f}, detectors correlate {np.corrcoef(one.ravel(), two.ravel())[0, 1]:.3f}")
    np.testing.assert_allclose([one.std(), two.std()], np.hypot(0.07, 0.06), rtol=0.04)
    shared = 0.07**2 / (0.07**2 + 0.06**2)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] == pytest.approx(shared, abs=0.03)
    away = round(3.3 / PX)
    fast = np.corrcoef(one[:, away:].ravel(), one[:, :-away].ravel())[0, 1]
    slow = np.corrcoef(one[away:].ravel(), one[:-away].ravel())[0, 1]
    print(f"neighbours along the fast axis {fast:.3f}, along the slow axis {slow:.3f}")
    assert fast == pytest.approx(0.2, abs=0.03)
    assert abs(slow) < 0.03


@pytest.mark.parametrize("dose", [3e2, 1e5])
def test_counts_are_poisson(dose: float) -> None:
    s = scan(detectors=1, dose=dose)
    counts = ImagingChain().detected(flat(s), s)
    expected = s.reference[0] * dose * PX**2
    assert counts.dtype == np.float32
    assert counts.mean() == pytest.approx(expected, rel=0.02)
    assert counts.var() == pytest.approx(expected, rel=0.02)
    assert np.array_equal(counts, np.rint(counts))


@pytest.mark.parametrize("dose", [0.0, -1.0, float("nan"), float("inf")])
def test_only_a_positive_dose_can_be_counted(dose: float) -> None:
    s = scan((8, 8), dose=dose)
    with pytest.raises(InputError, match=r"dose .* cannot be counted"):
        ImagingChain().detected(flat(s), s)


@pytest.mark.parametrize("correlation", [0.0, 0.15, 0.4])
def test_pixels_of_a_line_correlate_as_stated(correlation: float) -> None:
    s = scan((512, 512), detectors=1)
    noise = np.random.default_rng(0).normal(100, 10, (1, 512, 512)).astype(np.float32)
    after = PixelCorrelation(correlation).apply(noise, s)[0] - 100
    assert (after[:, 1:] * after[:, :-1]).mean() / after.var() == pytest.approx(correlation, abs=0.01)
    assert abs((after[1:] * after[:-1]).mean() / after.var()) < 0.01
    assert after.mean() == pytest.approx(noise.mean() - 100, abs=0.05)


def test_afterglow_trails_the_scan_across_lines_and_keeps_the_light() -> None:
    s = scan((4, 16), detectors=1)
    light = np.zeros((1, 4, 16), np.float32)
    light[0, 1, 14] = 1.0
    after = Afterglow(0.4, 3.0).apply(light, s)[0].ravel()
    start = 16 + 14
    assert not after[:start].any()
    np.testing.assert_allclose(
        after[start + 2 : start + 12] / after[start + 1 : start + 11], np.exp(-1 / 3), rtol=1e-4
    )
    assert after[start] == pytest.approx(0.6 + 0.4 * (1 - np.exp(-1 / 3)), rel=1e-4)
    assert after.sum() == pytest.approx(1.0, abs=1e-3)


def test_noise_spikes_and_clipping_of_the_detector() -> None:
    s = scan((256, 256))
    column = np.array(s.reference) * s.electrons_per_pixel
    nothing = np.zeros((2, *s.shape), np.float32)
    noise = ReadoutNoise(0.1).apply(nothing, s)
    np.testing.assert_allclose(noise.std(axis=(1, 2)) / column, 0.1, rtol=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    hits = Spikes(0.01, 2.0).apply(nothing, s)
    assert (hits[0] > 0).mean() == pytest.approx(0.01, rel=0.15)
    assert hits[0].sum() / (hits[0] > 0).sum() / column[0] == pytest.approx(2.0, rel=0.15)
    clipped = Saturation(0.8).apply(flat(s, 2.0) * np.float32(s.electrons_per_pixel), s)
    np.testing.assert_allclose(clipped.max(axis=(1, 2)) / column, 0.8, rtol=1e-5)


def test_gain_and_converter_put_black_and_a_column_where_they_are_asked_to() -> None:
    s = scan((32, 32), dose=1e9)
    chain = ImagingChain((Gain(0.1, 0.3, 1.5), Quantisation(12)))
    dark = chain.detected(np.zeros((2, 32, 32), np.float32), s)
    bright = chain.detected(flat(s), s)
    assert dark.dtype == np.uint16
    assert np.all(dark == round(0.1 * 4095))
    np.testing.assert_allclose(bright.mean(axis=(1, 2)) / 4095, [0.4, 0.55], atol=2e-3)
    assert chain.detected(flat(s, 10.0), s).max() == 4095


# --- chains


ALL = (
    Drift(), Warp(), Flyback(), LineJitter(), EffectiveSource(), Haze(), Contamination(), AmorphousCarbon(), AmplitudeNoise(),
    Afterglow(), PixelCorrelation(), Spikes(), ReadoutNoise(), Saturation(), Gain(), Quantisation(),
)  # fmt: skip


def run(chain: ImagingChain, seed: int = 0) -> np.ndarray:
    s = scan((96, 80), seed=seed)
    return chain.detected(chain.intensities(spot(s) + flat(s, 0.2), s), s)


@given(st.sets(st.sampled_from(range(len(ALL)))), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_chain_is_rebuilt_from_its_record_to_the_same_bytes(chosen: set[int], seed: int) -> None:
    chosen = chosen | {14} if 15 in chosen else chosen
    chain = ImagingChain(tuple(ALL[k] for k in sorted(chosen)))
    read = msgspec.json.decode(msgspec.json.encode(chain), type=ImagingChain)
    assert read == chain
    np.testing.assert_array_equal(run(chain, seed), run(read, seed))


def test_steps_act_in_the_order_of_their_stages_whatever_order_they_are_given_in() -> None:
    forwards, backwards = ImagingChain(ALL), ImagingChain((*ALL[:14][::-1], *ALL[14:]))
    assert [step.stage for step in ALL] == sorted(step.stage for step in ALL)
    by_stage = [[s for s in ALL if s.stage is stage] for stage in Stage]
    assert all(by_stage)
    within = [s for stage in by_stage[:4] for s in reversed(stage)]
    np.testing.assert_array_equal(run(backwards), run(ImagingChain((*within, *ALL[14:]))))
    assert run(forwards).shape == (2, 96, 80)


def test_one_step_more_leaves_the_noise_of_the_others_alone() -> None:
    s = scan((64, 64))
    base = ImagingChain((AmplitudeNoise(),)).intensities(flat(s), s)
    more = ImagingChain((Haze(0.0), AmplitudeNoise())).intensities(flat(s), s)
    np.testing.assert_array_equal(base, more)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Drift((float("nan"), 0.0)),
        lambda: Haze(-0.1),
        lambda: PixelCorrelation(0.7),
        lambda: AmplitudeNoise(common=-1.0),
        lambda: AmplitudeNoise(fast_correlation=1.0),
        lambda: Quantisation(17),
        lambda: Saturation(0.0),
        lambda: ImagingChain((Haze(), Haze(0.2))),
        lambda: ImagingChain((Quantisation(),)),
        lambda: msgspec.json.decode(b'{"steps":[{"type":"Haze","level":-3}]}', type=ImagingChain),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_words(make: object) -> None:
    with pytest.raises(InputError, match=r"Haze|Give|Gain"):
        make()  # type: ignore[operator]


def test_a_step_that_does_not_exist_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"steps":[{"type":"Magic"}]}', type=ImagingChain)
