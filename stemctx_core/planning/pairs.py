"""Two candidates of a site, and the dose that tells them apart.

The whitened separation d of two candidates (`stemctx_core.judging.separation`) grows with dose until the nuisances are all
that is left. Two that are equally likely beforehand are confused in a share Φ(-d/2) of the sites. The log-odds of a
site move by d²/2 ± d, which says how much more dose a site needs that is not decided yet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from scipy.special import ndtri

from stemctx_core.chemistry.classes import Candidate
from stemctx_core.encoding.prediction import Prediction, predict
from stemctx_core.errors import InputError
from stemctx_core.judging.separation import separation
from stemctx_core.look import formats
from stemctx_core.scene import Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary

#: Doses that are looked through (electrons per Å²); beyond the second no monolayer is left.
DOSES: Final = (10.0, 1e9)
_STEPS: Final = 60
_NUISANCES: Final = {
    "jitter_angstrom": "displacements of columns",
    "shift_angstrom": "the error of the site's position",
    "amplitude": "scatter of column amplitudes",
    "response": "the error of the simulated responses",
    "gain": "the error of the intensity scale",
    "ratio": "the error of X2/M",
    "background": "the error of the background",
    "sigma_angstrom": "the error of the source size",
    "defects": "defects beside the site",
}


@dataclass(frozen=True)
class DoseEstimate:
    """How much dose is needed.

    Attributes
    ----------
    dose_e_per_angstrom2
        Electrons per area; infinite where no dose is enough.
    separation
        Whitened distance of the two candidates at that dose, or the one that no dose exceeds.
    reason
        What limits it, in words.
    """

    dose_e_per_angstrom2: float
    separation: float
    reason: str

    @property
    def possible(self) -> bool:
        """Whether any dose is enough."""
        return math.isfinite(self.dose_e_per_angstrom2)


@dataclass(frozen=True)
class Pair:
    """Two candidates in one scene, ready to be asked about any dose.

    Attributes
    ----------
    species
        Their names.
    predictions
        What is expected of each, or None where the lattice alone tells them apart.
    """

    species: tuple[str, str]
    predictions: tuple[Prediction, Prediction] | None
    nuisance: Nuisance
    background: float

    def separation(self, dose_e_per_angstrom2: float, without: str = "") -> float:
        """Whitened distance at a dose; infinite on different sublattices.

        Parameters
        ----------
        without
            Name of a nuisance that is taken for known, to see how much it costs.
        """
        if self.predictions is None:
            return math.inf
        nuisance = replace(self.nuisance, **{without: 0.0}) if without else self.nuisance
        return separation(*self.predictions, nuisance, dose_e_per_angstrom2, self.background)

    def dose_to_tell(self, error_rate: float) -> DoseEstimate:
        """Least dose at which the two are confused in at most this share of the sites, when equally frequent."""
        if not 0 < error_rate < 0.5:
            raise InputError(
                f"An error rate of {error_rate:g} cannot be planned for. Give one between 0 and 0.5."
            )
        return self._dose_for(2 * float(-ndtri(error_rate)), f"an error rate of {error_rate:g}")

    def dose_to_decide(
        self, log_odds: float, *, sure: float = 0.99, excluded: float = 0.01, error_rate: float = 0.05
    ) -> DoseEstimate:
        """Additional dose after which a site that is not decided yet will be.

        Parameters
        ----------
        log_odds
            Natural logarithm of the first candidate's probability over the second's, as it stands.
        sure, excluded
            The first candidate's probability from which on the site is decided, one way or the other.
        error_rate
            Share of such sites that may still be undecided afterwards.
        """
        if not 0 < excluded < sure < 1:
            raise InputError(
                f"A site cannot be sure at {sure:g} and excluded at {excluded:g}. Give 0 < excluded < sure < 1."
            )
        if not 0 < error_rate < 0.5:
            raise InputError(
                f"An error rate of {error_rate:g} cannot be planned for. Give one between 0 and 0.5."
            )
        missing = max(_logit(sure) - log_odds, log_odds - _logit(excluded))
        # The log-odds gain d²/2 on the mean with a standard deviation of d: d²/2 - zd shall be what is missing.
        z = float(-ndtri(error_rate))
        return self._dose_for(z + math.sqrt(z * z + 2 * max(missing, 0.0)), "a decision")

    def _dose_for(self, needed: float, purpose: str) -> DoseEstimate:
        a, b = self.species
        if self.predictions is None:
            return DoseEstimate(DOSES[0], math.inf, f"{a} and {b} stand on different sublattices.")
        low, high = (math.log(d) for d in DOSES)
        limit = self.separation(DOSES[1])
        if limit < needed:
            return DoseEstimate(math.inf, limit, self._why_never(limit, needed, purpose))
        if self.separation(DOSES[0]) >= needed:
            high = low
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.separation(math.exp(middle)) >= needed else (middle, high)
        dose = math.exp(high)
        return DoseEstimate(
            dose,
            self.separation(dose),
            f"At {formats.dose(dose)} {a} and {b} are far enough apart for {purpose}.",
        )

    def _why_never(self, limit: float, needed: float, purpose: str) -> str:
        a, b = self.species
        without = {name: self.separation(DOSES[1], name) for name in _NUISANCES}
        worst = max(without, key=lambda name: without[name])
        words = f"No dose tells {a} from {b} with {purpose}: {needed:.1f} standard deviations are needed, "
        if without[worst] < 1.05 * limit:
            return words + f"{limit:.1f} is the most, because their columns scatter alike."
        return words + f"{limit:.1f} is the most, mainly because of {_NUISANCES[worst]}."


def pair(library: ResponseLibrary, scene: Scene, species_a: str, species_b: str) -> Pair:
    """Two candidates of a scene; see `pairs`."""
    return pairs(library, scene, (species_a, species_b))[0]


def pairs(library: ResponseLibrary, scene: Scene, species: Sequence[str]) -> tuple[Pair, ...]:
    """Every two of some candidates of a scene.

    Raises
    ------
    InputError
        A species that is not a candidate of the scene, one named twice, or fewer than two.
    LibraryError
        Where the library has no answer for the optics.
    """
    rows = [_row(scene.candidates, name) for name in species]
    for name in species:
        if species.count(name) > 1:
            raise InputError(f"{name} cannot be told from itself. Name two species.")
    if len(rows) < 2:
        raise InputError("One species alone needs no telling apart. Name at least two.")
    expected: tuple[Prediction, ...] | None = None
    found = []
    for a, b in itertools.combinations(range(len(rows)), 2):
        first, second = (scene.candidates[rows[k]] for k in (a, b))
        predictions = None
        if first.sublattice is second.sublattice:
            expected = expected or predict(library, scene).candidates
            predictions = expected[rows[a]], expected[rows[b]]
        found.append(Pair((species[a], species[b]), predictions, scene.nuisance, scene.background))
    return tuple(found)


def _row(candidates: tuple[Candidate, ...], species: str) -> int:
    for row, candidate in enumerate(candidates):
        if candidate.species == species:
            return row
    raise InputError(
        f"{species} cannot occur here. The candidates are {', '.join(c.species for c in candidates)}."
    )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
