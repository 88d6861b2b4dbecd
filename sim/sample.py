"""What lies under the simulated beam, and what the beam does to it."""

from __future__ import annotations

import threading
from typing import Final

from sim.crystal import IMPERFECTIONS, Crystal, imaging_chain
from sim.exposure import BeamHistory, Exposure
from sim.generator import FrameGenerator, GroundTruth
from sim.geometry import FrameGeometry
from sim.replay import Replay
from sim.shot import Shot
from stemctx_core.errors import InputError

#: Made up, for training: of a thousand atoms two are lost at 10⁵ e/Å². Measured cross-sections, of sulphur in
#: MoS2 between 55 and 90 keV, are in C. Speckmann et al., arXiv:2302.10529; they depend on host, energy and cleanliness.
TRAINING_DAMAGE_BARN: Final = 2.0
_ANGSTROM2_PER_BARN: Final = 1e-8


class SampleHolder:
    """The sample: a crystal that the beam changes, or a file that it does not. May be used from any thread.

    Attributes
    ----------
    damage_barn
        Cross-section for the loss of a chalcogen atom; 0 for a beam that does nothing.
    carbon_per_1e6_e_per_angstrom2
        Contamination that a dose of 10⁶ e/Å² grows, in units of the host's brighter column.
    """

    def __init__(self, generator: FrameGenerator, imperfections: str = IMPERFECTIONS[0]) -> None:
        self.damage_barn = 0.0
        self.carbon_per_1e6_e_per_angstrom2 = 0.0
        self._lock = threading.Lock()
        self._generator = generator
        self._history = BeamHistory(generator.specimen)
        self._replay: Replay | None = None
        self._imperfections = IMPERFECTIONS[0]
        self._number = 1
        self.image_with(imperfections)

    @property
    def generator(self) -> FrameGenerator:
        """Of the crystal that was put in last."""
        return self._generator

    @property
    def replay(self) -> Replay | None:
        """File that is shown, or None for a crystal."""
        return self._replay

    @property
    def history(self) -> BeamHistory:
        """What the beam has done to the crystal."""
        return self._history

    @property
    def number(self) -> int:
        """Counts samples, fresh areas of one crystal too."""
        return self._number

    @property
    def imperfections(self) -> str:
        """How imperfectly a crystal is imaged."""
        return self._imperfections

    def image_with(self, imperfections: str) -> None:
        """Image with these imperfections from the next frame on; `InputError` for an unknown name."""
        imaging_chain(imperfections)
        self._imperfections = imperfections

    def put_in(self, sample: FrameGenerator | Replay) -> None:
        """Show a fresh crystal, or a file, from the next frame on."""
        with self._lock:
            self._number += 1
            before = self._replay
            self._replay = sample if isinstance(sample, Replay) else None
            if isinstance(sample, FrameGenerator):
                self._generator, self._history = sample, BeamHistory(sample.specimen)
        if before is not None and before is not sample:
            before.close()

    def renew(self) -> None:
        """The same crystal, as it was before the beam came."""
        self.put_in(self._generator)

    def exposure(self, frame_number: int, geometry: FrameGeometry, rows: int, dose: float) -> Exposure:
        """What rows of a frame do to the crystal, at the rates of now."""
        losses = self.damage_barn * _ANGSTROM2_PER_BARN * dose
        carbon = self.carbon_per_1e6_e_per_angstrom2 * 1e-6 * dose
        return Exposure(frame_number, geometry, rows, dose, losses, carbon)

    def expose(self, sample: Crystal | Replay, exposure: Exposure) -> None:
        """The beam was on a sample; nothing, where that is not the one that is in."""
        with self._lock:
            history, replayed = self._history, self._replay is not None
        # By its history: a fresh area of the same crystal is another sample.
        if isinstance(sample, Crystal) and sample.history is history and not replayed:
            after = history.exposed(exposure)
            with self._lock:
                if self._history is history:
                    self._history = after

    def now(self, exposure: Exposure | None = None) -> tuple[int, Crystal | Replay]:
        """Number of the sample, and the sample as it stands or as it would stand after an exposure."""
        with self._lock:
            number, replay = self._number, self._replay
            generator, history, imperfections = self._generator, self._history, self._imperfections
        if replay is not None:
            return number, replay
        after = history if exposure is None else history.exposed(exposure)
        return number, Crystal(generator, after, imperfections)

    def ground_truth(self, shot: Shot) -> GroundTruth:
        """Every site of a frame and what stood there.

        Raises
        ------
        InputError
            A frame that is dark, shows a file, or is of a sample that is not in any more.
        """
        if shot.replayed:
            raise InputError(f"What stands in {shot.replayed} is not known. Only crystals have ground truth.")
        if shot.geometry is None:
            raise InputError("This frame could not be rendered, so that it has no ground truth. Scan another.")
        with self._lock:
            number, generator, history = self._number, self._generator, self._history
        if shot.sample_number != number:
            raise InputError("The sample was changed after this frame. Score frames of the one that is in.")
        return Crystal(generator, history, shot.imperfections).truth(shot.geometry, shot.frame_number)

    def close(self) -> None:
        """Let go of a file."""
        if self._replay is not None:
            self._replay.close()
