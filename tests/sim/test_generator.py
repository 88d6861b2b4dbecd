from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from sim.generator import FrameGenerator, GroundTruth
from sim.geometry import FrameGeometry, ScanArea
from sim.specimen import Specimen
from stemctx_core.dose import dose_e_per_angstrom2
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.simulation.optics import Optics
from tests.sim.truth import ground_truth

HAADF = Optics(80.0, 30.0, 70.0, 200.0, 0.45)
MAADF = Optics(80.0, 30.0, 50.0, 120.0, 0.45)


@pytest.fixture(scope="module")
def generator() -> FrameGenerator:
    return FrameGenerator(Specimen(seed=3))


def _scan(
    fov_nm: float = 8.0,
    centre_nm: tuple[float, float] = (0.0, 0.0),
    rotation_rad: float = 0.0,
    drift_nm_per_row: tuple[float, float] = (0.0, 0.0),
    size: int = 256,
) -> FrameGeometry:
    area = ScanArea((size, size), fov_nm, centre_nm, rotation_rad)
    return area.geometry(drift_nm_per_row=drift_nm_per_row)


@pytest.mark.parametrize(
    "geometry",
    [
        _scan(),
        _scan(rotation_rad=0.3),
        _scan(centre_nm=(40.0, -70.0), rotation_rad=-1.1),
        _scan(drift_nm_per_row=(2e-3, -3e-3), rotation_rad=0.3),
        ScanArea((128, 256), 8.0, (3.0, 1.0), 0.7).geometry(),
    ],
    ids=["plain", "rotated", "elsewhere", "drifting", "not square"],
)
def test_truth_lies_on_the_columns_of_the_image(generator: FrameGenerator, geometry: FrameGeometry) -> None:
    """Each site is as bright in the frame as its own column and its neighbours' tails make it."""
    frame, truth = generator.fractions(geometry, HAADF), ground_truth(generator.specimen, geometry)
    inside = np.all((truth.positions_px > 8) & (truth.positions_px < np.array(geometry.shape) - 9), axis=1)
    seen = map_coordinates(frame, truth.positions_px[inside].T, order=3)
    alone = generator.responses(HAADF)[:, 0][truth.sites.column_index[inside]]
    assert inside.sum() > 300
    assert np.corrcoef(seen, alone)[0, 1] > 0.99
    # A tenth of an ångström away it is darker at bright columns: the truth lies on the peak.
    bright = truth.species[inside] == "W"
    away = 0.4 / (10 * geometry.pixel_size_nm)
    for step in ((away, 0), (-away, 0), (0, away), (0, -away)):
        moved = map_coordinates(frame, (truth.positions_px[inside] + step).T, order=3)
        assert (moved < seen)[bright].mean() > 0.98


def _named_defects(truth: GroundTruth) -> set[tuple[object, ...]]:
    index, of = truth.sites.lattice_index, truth.is_defect
    return {(*i, s) for i, s in zip(index[of].tolist(), truth.species[of], strict=True)}


def test_rotating_moving_and_zooming_show_the_same_defects(generator: FrameGenerator) -> None:
    specimen = generator.specimen
    everywhere = _named_defects(ground_truth(specimen, _scan(fov_nm=20.0)))
    for geometry in (_scan(5.0), _scan(6.0, (2.0, -3.0)), _scan(10.0, rotation_rad=0.3)):
        here = _named_defects(ground_truth(specimen, geometry))
        assert here
        assert here <= everywhere
    # The images agree where they overlap: the rotated one, read on the pixels of the plain one.
    plain, turned = _scan(8.0), _scan(12.0, (0.4, -0.3), 0.3, size=512)
    y, x = np.mgrid[0:256, 0:256]
    pixels = np.stack([y.ravel(), x.ravel()], axis=1).astype(float)
    there = turned.to_px(plain.to_specimen_nm(pixels))
    read = map_coordinates(generator.fractions(turned, HAADF), there.T, order=3)
    assert np.corrcoef(read, generator.fractions(plain, HAADF).ravel())[0, 1] > 0.9999


def test_conventions_are_those_of_the_scan() -> None:
    """Measured on Nion's simulated instrument: sample = centre + (y cos r + x sin r, x cos r - y sin r)."""
    r = 0.3
    geometry = ScanArea((101, 101), 10.1, (3.0, -2.0), r).geometry(specimen_offset_nm=(0.5, 0.25))
    middle = np.array([[50.0, 50.0]])
    np.testing.assert_allclose(geometry.to_specimen_nm(middle), [[2.5, -2.25]])
    down = geometry.to_specimen_nm(middle + [[10, 0]]) - geometry.to_specimen_nm(middle)
    right = geometry.to_specimen_nm(middle + [[0, 10]]) - geometry.to_specimen_nm(middle)
    np.testing.assert_allclose(down, [[np.cos(r), -np.sin(r)]], atol=1e-12)
    np.testing.assert_allclose(right, [[np.sin(r), np.cos(r)]], atol=1e-12)


def test_geometry_there_and_back_with_drift() -> None:
    geometry = _scan(7.0, (-5.0, 9.0), 2.2, (1e-3, 2e-3))
    pixels = np.random.default_rng(0).uniform(-20, 280, (50, 2))
    np.testing.assert_allclose(geometry.to_px(geometry.to_specimen_nm(pixels)), pixels, atol=1e-9)


def test_a_subscan_lies_where_it_was_drawn(generator: FrameGenerator) -> None:
    whole = ScanArea((256, 256), 8.0, (1.0, 2.0), 0.4)
    part = ScanArea((256, 256), 8.0, (1.0, 2.0), 0.4, (64, 64), (0.25, 0.25), (0.375, 0.625))
    full, cut = (generator.fractions(r.geometry(), HAADF) for r in (whole, part))
    np.testing.assert_allclose(cut, full[64:128, 128:192], atol=1e-5)
    turned = ScanArea((256, 256), 8.0, (1.0, 2.0), 0.4, (64, 64), (0.25, 0.25), (0.375, 0.625), 0.5)
    assert turned.geometry().rotation_rad == pytest.approx(-0.1)
    assert turned.geometry().centre_nm == pytest.approx(part.geometry().centre_nm)


def test_dose_sets_the_counts(generator: FrameGenerator) -> None:
    assert dose_e_per_angstrom2(51e-12, 12.0, 10 / 512 * 10) == pytest.approx(1.0e5, rel=0.005)
    geometry = _scan()
    fraction = generator.fractions(geometry, HAADF)
    area = (10 * geometry.pixel_size_nm) ** 2
    for dose in (1e3, 1e5):
        counts = generator.counts(geometry, HAADF, dose, frame_number=1)
        assert counts.dtype == np.float32
        assert counts.mean() == pytest.approx(fraction.mean() * dose * area, rel=0.02)
        # Poisson: the variance about the noiseless frame is the mean.
        assert np.mean((counts - fraction * dose * area) ** 2) == pytest.approx(counts.mean(), rel=0.03)
    np.testing.assert_array_equal(counts, np.round(counts))


def test_noise_is_new_in_every_frame_and_channel_and_the_seed_repeats_it(generator: FrameGenerator) -> None:
    geometry = _scan(size=64)
    one = generator.counts(geometry, HAADF, 1e4, frame_number=1)
    assert np.array_equal(one, generator.counts(geometry, HAADF, 1e4, frame_number=1))
    assert not np.array_equal(one, generator.counts(geometry, HAADF, 1e4, frame_number=2))
    assert not np.array_equal(one, generator.counts(geometry, HAADF, 1e4, frame_number=1, channel=1))


def test_detectors_see_differently_and_background_adds_up(generator: FrameGenerator) -> None:
    geometry = _scan()
    haadf, maadf = (generator.fractions(geometry, o) for o in (HAADF, MAADF))
    assert maadf.mean() > 1.3 * haadf.mean()
    truth = ground_truth(generator.specimen, geometry)
    dark = FrameGenerator(generator.specimen, background_fraction=0.0).fractions(geometry, HAADF)
    peak = dark[tuple(np.round(truth.positions_px[truth.species == "W"]).astype(int).clip(0, 255).T)].max()
    assert np.ptp(haadf - dark) < 1e-6
    assert (haadf - dark).mean() == pytest.approx(0.02 * peak, rel=0.1)


def test_what_the_library_does_not_hold_is_said(generator: FrameGenerator) -> None:
    with pytest.raises(LibraryError, match="not 150 kV"):
        generator.fractions(_scan(), Optics(150.0, 30.0, 70.0, 200.0, 0.45))
    with pytest.raises(LibraryError, match="inner angle at least 35"):
        generator.fractions(_scan(), Optics(80.0, 30.0, 20.0, 200.0, 0.45))
    with pytest.raises(LibraryError, match="Zoom in"):
        generator.fractions(_scan(1000.0), HAADF)
    with pytest.raises(InputError, match="no extent"):
        ScanArea((0, 64), 8.0).geometry()


def test_a_frame_of_512_pixels_takes_a_tenth_of_a_second_of_a_processor(generator: FrameGenerator) -> None:
    geometry = _scan(10.0, size=512)
    generator.counts(geometry, HAADF, 1e5)
    times = []
    for number in range(5):
        start = time.process_time()
        generator.counts(geometry, HAADF, 1e5, number)
        times.append(time.process_time() - start)
    assert min(times) < 0.1
