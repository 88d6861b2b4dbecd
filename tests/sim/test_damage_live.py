"""A beam that damages and contaminates while the scan runs, through Nion's own acquisition."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.errors import InputError

HARD = MicroscopeSettings(
    size=(160, 160), fov_nm=5.0, dwell_us=2.0, probe_current_pa=20_000.0, drift_nm_per_s=(0.05, -0.02), damage_barn=8.0,
    carbon_per_1e6_e_per_angstrom2=0.05, specimen_seed=2,
)  # fmt: skip


def _frames(microscope: HeadlessMicroscope, count: int) -> list[Any]:
    scan, frames = microscope.scan, []

    def updated(args: Any, xdata: Any) -> None:
        if args.state == "complete" and len(frames) < count:
            frames.append((xdata.data.copy(), dict(xdata.metadata)))

    listener = scan.data_channel_updated_event.listen(updated)
    scan.start_playing(sync_timeout=60.0)
    while len(frames) < count:
        scan.get_next_xdatas_to_finish(timeout=60)
    scan.abort_playing(sync_timeout=60.0)
    listener.close()
    return frames


def test_vacancies_grow_with_the_scan_and_truth_goes_with_the_image() -> None:
    with HeadlessMicroscope(HARD) as microscope:
        frames = _frames(microscope, 5)
        truths = [microscope.ground_truth(metadata) for _, metadata in frames]
        lost = microscope.stem_controller.sample.history.lost_atoms
    missing = [int(np.isin(t.species, ("vac_Se", "vac_Se2")).sum()) for t in truths]
    assert missing == sorted(missing)
    assert missing[-1] > 2 * missing[0]
    assert lost > missing[-1] - missing[0]
    for (image, _), truth in list(zip(frames, truths, strict=True))[1:]:
        inside = np.all((truth.positions_px > 5) & (truth.positions_px < 154), axis=1)
        seen = map_coordinates(image, truth.positions_px[inside].T, order=1)
        species = truth.species[inside]
        shine = [
            np.median(seen[species == s]) for s in ("Se2", "vac_Se", "vac_Se2") if (species == s).sum() > 2
        ]
        assert len(shine) >= 2
        assert shine == sorted(shine, reverse=True)
    # Carbon: what was empty is brighter in the last frame than in the first.
    dark = [np.percentile(image, 2) for image, _ in frames]
    assert dark[-1] > 1.2 * dark[0]


def test_the_same_seed_and_dose_are_the_same_history() -> None:
    runs = []
    for _ in range(2):
        with HeadlessMicroscope(HARD) as microscope:
            runs.append([image for image, _ in _frames(microscope, 3)])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_blanked_beam_does_nothing_and_a_fresh_area_is_whole() -> None:
    with HeadlessMicroscope(HARD) as microscope:
        stem = microscope.stem_controller
        microscope.record()
        (second,) = microscope.record()
        assert stem.sample.history.lost_atoms > 0
        old = dict(second.metadata)
        stem.sample.renew()
        stem.value_manager.is_blanked = True
        for _ in range(2):
            assert not microscope.record()[0].data.any()
        assert stem.sample.history.lost_atoms == 0
        with pytest.raises(InputError, match="sample was changed"):
            microscope.ground_truth(old)


def test_a_frame_that_is_cut_short_exposes_only_its_rows() -> None:
    with HeadlessMicroscope(HARD) as microscope:
        scan, sample = microscope.scan, microscope.stem_controller.sample
        slow = microscope.frame_parameters(pixel_time_us=300.0)
        seen: list[int] = []
        listener = scan.data_channel_updated_event.listen(
            lambda args, xdata: seen.append(xdata.metadata["scan"]["valid_rows"])
        )
        scan.start_playing(sync_timeout=60.0, frame_parameters=slow)
        while not any(rows > 10 for rows in seen):
            time.sleep(0.01)
        scan.abort_playing(sync_timeout=60.0)
        listener = None
        assert not listener
        (after,) = microscope.record()
        truth = microscope.ground_truth(after.metadata)
        upper, lower = (
            np.isin(truth.species[of], ("vac_Se", "vac_Se2")).mean()
            for of in (truth.positions_px[:, 0] < 8, truth.positions_px[:, 0] > 80)
        )
        assert upper > 2 * lower
        assert sample.history.lost_atoms > 0
