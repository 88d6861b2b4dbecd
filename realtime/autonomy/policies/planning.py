"""How much more dose an undecided site needs, from what the frame it was seen in says of itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from realtime.autonomy.policies.sites import probability_of
from stemctx_core.planning.pairs import DoseEstimate, Pair, pair
from stemctx_core.planning.planner import scene_of
from stemctx_core.results import FrameResult
from stemctx_core.scene import Nuisance
from stemctx_core.simulation.library import ResponseLibrary, shipped_library

_LEAST = 1e-9


class DosePlanner:
    """Plans the next exposure of a site.

    Parameters
    ----------
    library
        Column responses; the shipped ones by default.
    error_rate
        Share of the sites that may still be undecided after the planned dose, and are then planned again.
    least_e_per_angstrom2
        No exposure is planned below this dose: a frame must still show its lattice.
    """

    def __init__(
        self,
        library: ResponseLibrary | None = None,
        error_rate: float = 0.2,
        least_e_per_angstrom2: float = 1000.0,
    ) -> None:
        self.library = library or shipped_library()
        self.error_rate = error_rate
        self.least_e_per_angstrom2 = least_e_per_angstrom2
        self._pairs: dict[tuple[object, ...], Pair] = {}

    def dose_to_decide(
        self,
        result: FrameResult,
        posterior: Mapping[str, float],
        species: Collection[str],
        *,
        sure: float,
        excluded: float,
    ) -> DoseEstimate:
        """Additional dose that should decide whether one of some species stands at a site.

        Parameters
        ----------
        result
            Of the frame that the site was seen in; its own source size and scatter are used.
        posterior
            Species to probability at the site, by everything that was seen of it.
        species
            What is looked for.
        sure, excluded
            Probability from which on it is decided, one way or the other.
        """
        wanted = max((name for name in posterior if name in species), key=lambda name: posterior[name])
        rival = max((name for name in posterior if name not in species), key=lambda name: posterior[name])
        share = min(max(probability_of(posterior, species), _LEAST), 1 - _LEAST)
        log_odds = math.log(share / (1 - share))
        estimate = self._pair(result, wanted, rival).dose_to_decide(
            log_odds, sure=sure, excluded=excluded, error_rate=self.error_rate
        )
        return replace(
            estimate, dose_e_per_angstrom2=max(estimate.dose_e_per_angstrom2, self.least_e_per_angstrom2)
        )

    def _pair(self, result: FrameResult, wanted: str, rival: str) -> Pair:
        calibration = result.calibration
        if calibration is None:
            scene = scene_of(result.context)
        else:
            # Rounded, so that frames of one kind share what is computed.
            nuisance = Nuisance(
                jitter_angstrom=round(calibration.jitter_angstrom, 2),
                amplitude=round(calibration.amplitude_sd, 2),
            )
            scene = scene_of(result.context, round(calibration.sigma_angstrom, 2), nuisance=nuisance)
        key = (scene.host, scene.optics, scene.nuisance, wanted, rival)
        if key not in self._pairs:
            self._pairs[key] = pair(self.library, scene, wanted, rival)
        return self._pairs[key]
