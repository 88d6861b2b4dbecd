"""The simulated microscope of surveys: a specimen of known dopant fraction, and frames that remember where they lay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nionswift_plugin.stemctx.scripting.microscope import NionMicroscope
from realtime.autonomy.microscope import Pair, ScannedFrame, ScanRequest
from sim.generator import FrameGenerator
from sim.geometry import FrameGeometry
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.shot import shot
from sim.specimen import Specimen
from stemctx_core.chemistry.classes import REAL_PREVALENCE, Role
from stemctx_core.errors import InputError


@dataclass(frozen=True)
class SurveySettings(MicroscopeSettings):
    """A microscope with a specimen in which the dopant is as frequent as asked, the defects as in real crystals.

    Attributes
    ----------
    dopant_fraction
        Share of the metal sites.
    """

    dopant_fraction: float = 0.01

    def generator(self) -> FrameGenerator:
        """Make a specimen and what renders it."""
        prevalence = {**REAL_PREVALENCE, Role.DOPANT: self.dopant_fraction}
        specimen = Specimen(self.host, self.dopant, self.specimen_seed, prevalence)
        return FrameGenerator(specimen, background_fraction=self.background_fraction, seed=self.noise_seed)


class WitnessedMicroscope(NionMicroscope):
    """The simulated microscope; it keeps where every frame lay on the specimen, to compare with the truth."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._geometries: dict[str, FrameGeometry] = {}

    def scan(self, request: ScanRequest) -> ScannedFrame:
        """Scan one whole frame."""
        frame = super().scan(request)
        taken = shot(self.metadata)
        if taken.error or taken.geometry is None:
            raise InputError(f"The simulated frame is dark: {taken.error}")
        self._geometries[frame.frame.scan_id] = taken.geometry
        return frame

    def specimen_nm(self, scan_id: str, y_px: float, x_px: float) -> Pair:
        """Point of the specimen (y, x; nm) at array-index coordinates of a frame."""
        y, x = self._geometries[scan_id].to_specimen_nm(np.array([[y_px, x_px]]))[0]
        return float(y), float(x)


@contextlib.contextmanager
def simulated(settings: MicroscopeSettings) -> Iterator[tuple[WitnessedMicroscope, HeadlessMicroscope]]:
    """Open a simulated microscope for scripts and close it again."""
    with HeadlessMicroscope(settings) as headless:
        yield WitnessedMicroscope.simulated(headless), headless
