"""What the beam does to a specimen: follows dose and seed, and nothing else."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from sim.crystal import IMPERFECTIONS, Crystal, imaging_chain
from sim.exposure import BeamHistory, Exposure
from sim.generator import FrameGenerator
from sim.geometry import FrameGeometry, ScanArea
from sim.sample import SampleHolder
from sim.shot import Shot
from sim.specimen import Specimen
from stemctx_core.errors import InputError
from stemctx_core.simulation.optics import Optics

HAADF = Optics(80.0, 30.0, 70.0, 200.0, 0.45)
FIELD = ScanArea((128, 128), 6.0, (3.0, -2.0), 0.3).geometry()


def _exposure(number: int, losses: float = 0.0, carbon: float = 0.0, rows: int = 128) -> Exposure:
    return Exposure(number, FIELD, rows, 1e5, losses, carbon)


def _atoms(history: BeamHistory, geometry: FrameGeometry = FIELD, number: int | None = None) -> np.ndarray:
    """Chalcogen atoms of every chalcogen column of a field."""
    sites = history.present(history.specimen.columns_in(*geometry.bounds_nm(0.0)), number)
    held = {"Se2": 2, "vac_Se": 1, "O_Se": 1, "vac_Se2": 0}
    return np.array([held[s] for s in sites.species[sites.sublattice == 1]])


def test_dose_adds_up_where_the_beam_was() -> None:
    history = BeamHistory(Specimen()).exposed(_exposure(1)).exposed(_exposure(2, rows=64))
    upper, lower, outside = ((20.0, 64.0), (110.0, 64.0), (-30.0, 64.0))
    dose = history.dose_e_per_angstrom2(FIELD.to_specimen_nm(np.array([upper, lower, outside])))
    np.testing.assert_allclose(dose, [2e5, 1e5, 0.0])
    assert BeamHistory(Specimen()).dose_e_per_angstrom2(np.zeros((2, 2))).tolist() == [0.0, 0.0]


def test_losses_follow_the_dose_and_not_how_it_was_split() -> None:
    fresh = BeamHistory(Specimen(seed=4))
    at_once = fresh.exposed(_exposure(1, losses=0.5))
    assert fresh.exposed(_exposure(1, losses=0.5)) is at_once, "the same again is the same object"
    in_parts = fresh
    for number in range(1, 11):
        in_parts = in_parts.exposed(_exposure(number, losses=0.05))
    np.testing.assert_array_equal(_atoms(at_once), _atoms(in_parts))
    # Each atom stays with the chance exp(-σ D).
    inner = ScanArea((64, 64), 3.6, (3.0, -2.0)).geometry()
    pairs = _atoms(fresh, inner) == 2
    left = _atoms(at_once, inner)[pairs].mean() / 2
    assert left == pytest.approx(np.exp(-0.5), abs=0.1)
    assert at_once.lost_atoms > 50
    another = BeamHistory(Specimen(seed=5)).exposed(_exposure(1, losses=0.5))
    assert another.lost_atoms != at_once.lost_atoms


def test_losses_grow_stay_and_are_remembered_frame_by_frame() -> None:
    history, counts = BeamHistory(Specimen(seed=1)), []
    for number in range(1, 6):
        counts.append(_atoms(history).sum())
        history = history.exposed(_exposure(number, losses=0.1))
    assert all(a > b for a, b in pairwise(counts))
    # What stood when a frame began can be asked for later.
    assert [_atoms(history, number=n).sum() for n in range(1, 6)] == counts
    elsewhere = ScanArea((64, 64), 4.0, (60.0, 0.0)).geometry()
    np.testing.assert_array_equal(_atoms(history, elsewhere), _atoms(BeamHistory(Specimen(seed=1)), elsewhere))


def test_metal_and_oxygen_stay() -> None:
    specimen = Specimen(seed=2)
    ruined = BeamHistory(specimen).exposed(_exposure(1, losses=50.0))
    before = specimen.columns_in(*ScanArea((64, 64), 3.0, (3.0, -2.0)).geometry().bounds_nm(0.0))
    after = ruined.present(before)
    stays = (before.sublattice == 0) | (before.species == "O_Se")
    np.testing.assert_array_equal(after.species[stays], before.species[stays])
    assert set(after.species[~stays]) == {"vac_Se2"}


def test_the_image_darkens_where_an_atom_left_and_truth_says_so() -> None:
    generator = FrameGenerator(Specimen(seed=3))
    fresh = Crystal(generator, BeamHistory(generator.specimen))
    damaged = dataclasses.replace(fresh, history=fresh.history.exposed(_exposure(1, losses=0.3)))

    def frame(crystal: Crystal, number: int) -> np.ndarray:
        blocks = list(crystal.blocks(FIELD, number, [(0, HAADF)], 1e7))
        assert [first for first, _ in blocks] == list(range(0, 128, 16))
        return np.concatenate([parts[0] for _, parts in blocks])

    before, after = fresh.truth(FIELD, 2), damaged.truth(FIELD, 2)
    np.testing.assert_array_equal(damaged.truth(FIELD, 1).species, before.species)
    np.testing.assert_array_equal(before.positions_px, after.positions_px)
    new = (before.species == "Se2") & (after.species == "vac_Se")
    same = before.species == after.species
    seen, then = (map_coordinates(frame(c, 2), before.positions_px.T, order=1) for c in (damaged, fresh))
    inside = np.all((before.positions_px > 4) & (before.positions_px < 123), axis=1)
    assert (new & inside).sum() > 20
    assert (seen[new & inside] < 0.75 * then[new & inside]).all()
    w = same & inside & (before.species == "W")
    assert np.median(seen[w] / then[w]) == pytest.approx(1.0, abs=0.05)


def test_pristine_blocks_are_the_frames_of_the_generator() -> None:
    generator = FrameGenerator(Specimen(seed=3))
    crystal = Crystal(generator, BeamHistory(generator.specimen))
    rows = [parts[0] for _, parts in crystal.blocks(FIELD, 7, [(0, HAADF)], 1e4)]
    whole = generator.counts(FIELD, HAADF, 1e4, frame_number=7)
    assert (np.concatenate(rows) == whole).mean() > 0.999  # rows are counted from another zero


def test_carbon_grows_with_dose_where_the_beam_was() -> None:
    generator = FrameGenerator(Specimen(seed=3))
    half = FrameGeometry((64, 128), FIELD.pixel_size_nm, FIELD.centre_nm, FIELD.rotation_rad)
    history, means = BeamHistory(generator.specimen), []
    for number in range(3):
        carbon = history.carbon(FIELD)
        means.append(0.0 if carbon is None else float(carbon.mean()))
        frame = np.concatenate(
            [p[0] for _, p in Crystal(generator, history).blocks(FIELD, 1, [(0, HAADF)], 1e6)]
        )
        means.append(float(frame.mean()))
        history = history.exposed(Exposure(number, half, 64, 1e5, 0.0, 0.2))
    carbon_means, brightness = means[::2], means[1::2]
    assert carbon_means[0] == 0.0
    assert carbon_means[2] == pytest.approx(2 * carbon_means[1], rel=1e-3)
    assert brightness[0] < brightness[1] < brightness[2]
    carbon = history.carbon(FIELD)
    assert carbon is not None
    assert carbon[64, 64] == pytest.approx(0.6, rel=0.05)
    assert carbon[120:, 100:].max() < 0.2


@pytest.mark.parametrize("name", IMPERFECTIONS)
def test_truth_follows_imperfections(name: str) -> None:
    geometry = ScanArea((256, 256), 8.0).geometry()
    generator = FrameGenerator(Specimen(seed=3))
    crystal = Crystal(generator, BeamHistory(generator.specimen), name)
    channels = [(0, HAADF), (1, dataclasses.replace(HAADF, inner_mrad=50.0, outer_mrad=120.0))]
    parts = [p for _, p in crystal.blocks(geometry, 3, channels, 1e6)]
    haadf, maadf = (np.concatenate([p[c] for p in parts]) for c in (0, 1))
    assert haadf.shape == maadf.shape == (256, 256)
    assert not np.array_equal(haadf, maadf)
    truth = crystal.truth(geometry, 3)
    inside = np.all((truth.positions_px > 8) & (truth.positions_px < 247), axis=1)
    # Over the footprint of a column, which the noise of the amplitude is stated for.
    smooth = gaussian_filter(haadf.astype(float), 2.0)
    alone = generator.responses(HAADF)[:, 0][truth.sites.column_index[inside]]

    def agreement(shift: tuple[float, float]) -> float:
        seen = map_coordinates(smooth, (truth.positions_px[inside] + shift).T, order=1)
        return float(np.corrcoef(seen, alone)[0, 1])

    here = agreement((0.0, 0.0))
    assert here > {"pristine": 0.9, "typical": 0.6, "difficult": 0.35}[name]
    assert all(agreement(shift) < here for shift in ((1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5)))
    dark = [p for _, p in crystal.blocks(geometry, 3, channels, 0.0)]
    assert not any(p[0].any() for p in dark)


def test_a_sample_holder_keeps_truth_and_samples_apart() -> None:
    sample = SampleHolder(FrameGenerator(Specimen()))
    sample.damage_barn, sample.carbon_per_1e6_e_per_angstrom2 = 2.0, 0.5
    exposure = sample.exposure(1, FIELD, 128, 1e6)
    assert exposure.losses == pytest.approx(2e-8 * 1e6)
    assert exposure.carbon == pytest.approx(0.5)
    taken = Shot(1, FIELD, sample_number=sample.number)
    _, fresh = sample.now()
    sample.expose(fresh, exposure)
    assert sample.history.lost_atoms > 0
    assert isinstance(fresh, Crystal)
    np.testing.assert_array_equal(sample.ground_truth(taken).species, fresh.truth(FIELD, 1).species)
    sample.renew()
    assert sample.history.lost_atoms == 0
    sample.expose(fresh, exposure)  # a frame that ends after the sample was changed
    with pytest.raises(InputError, match="changed after"):
        sample.ground_truth(taken)
    with pytest.raises(InputError, match="could not be rendered"):
        sample.ground_truth(Shot(1))
    with pytest.raises(InputError, match="no imperfections 'none'"):
        imaging_chain("none")
