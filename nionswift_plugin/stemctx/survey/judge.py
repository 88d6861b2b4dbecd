"""Findings of a survey against the specimen that was surveyed."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from nionswift_plugin.stemctx.scripting.survey_microscope import WitnessedMicroscope
from realtime.autonomy.policies.area import Area
from realtime.autonomy.policies.sites import Finding
from realtime.autonomy.views import SessionEvent
from sim.scoring import MATCH_ANGSTROM
from sim.specimen import Specimen

SPECIES: Final = "V_W"


class Judge:
    """Compares findings with the specimen, where the frames that they were seen in really lay.

    Attributes
    ----------
    beam_s
        How long the beam was on the specimen.
    """

    def __init__(self, microscope: WitnessedMicroscope) -> None:
        self._microscope = microscope
        self._scan_ids: dict[str, str] = {}
        self.beam_s = 0.0

    def hear(self, event: SessionEvent) -> None:
        """Note where a frame lay, as a listener of the session."""
        if event.view is not None:
            self._scan_ids[event.view.key] = event.view.frame.frame.scan_id
            self.beam_s += event.view.request.seconds

    def score(
        self, findings: tuple[Finding, ...], undecided: tuple[Finding, ...], specimen: Specimen, area: Area
    ) -> tuple[int, int, int, int]:
        """Right, wrong, missed, and missed because undecided."""
        (y, x), (height, width) = area.centre_nm, area.size_nm
        # Drift begins at 0: the area lies on the specimen where it lies in scan coordinates.
        margin = 0.5
        sites = specimen.columns_in(
            y - height / 2 - margin, x - width / 2 - margin, y + height / 2 + margin, x + width / 2 + margin
        )
        tree = cKDTree(sites.positions_nm)
        inside = np.array([area.holds((float(p[0]), float(p[1]))) for p in sites.positions_nm])
        dopants = {int(i) for i in np.flatnonzero(inside & (sites.species == SPECIES))}
        found: set[int] = set()
        wrong = 0
        for one in findings:
            place = self._place(one)
            distance, site = tree.query(place)
            matched = distance * 10 <= MATCH_ANGSTROM
            # A finding counts where its site does.
            if not (inside[site] if matched else area.holds(place)):
                continue
            if matched and int(site) in dopants and int(site) not in found and one.species == SPECIES:
                found.add(int(site))
            else:
                wrong += 1
        doubtful = {int(tree.query(self._place(one))[1]) for one in undecided}
        missed = dopants - found
        return len(found), wrong, len(missed), len(missed & doubtful)

    def _place(self, one: Finding) -> tuple[float, float]:
        return self._microscope.specimen_nm(self._scan_ids[one.view], one.y_px, one.x_px)
