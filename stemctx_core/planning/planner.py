"""How much dose tells the candidates of a site apart, two of them or all of a set.

The whitened separation d of two candidates (`stemctx_core.judging.separation`) grows with dose until the nuisances are all
that is left. Two that are equally likely beforehand are confused in a share Φ(-d/2) of the sites. The log-odds of a
site move by d²/2 ± d, which says how much more dose a site needs that is not decided yet. A set is told apart when
its hardest pair is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from scipy.special import ndtri

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.context import ImagingContext, Known
from stemctx_core.encoding.knowledge import typical
from stemctx_core.encoding.prediction import Prediction, predict
from stemctx_core.errors import InputError
from stemctx_core.judging.separation import separation
from stemctx_core.look import formats
from stemctx_core.scene import Missing, Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM, Optics

#: Doses that are looked through (electrons per Å²); beyond the second no monolayer is left.
DOSES: Final = (10.0, 1e9)
#: Uniform intensity beside the columns, in units of the brighter host column's peak.
TYPICAL_BACKGROUND: Final = 0.02
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


def scene_of(
    context: ImagingContext,
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM,
    background: float = TYPICAL_BACKGROUND,
    nuisance: Nuisance | None = None,
) -> Scene:
    """Scene of a context before anything is scanned; its dose is not used.

    Raises
    ------
    InputError
        Where energy or detector are not known, or the context cannot be.
    """
    context.validated()
    convergence = context.convergence_semi_angle_mrad
    return Scene(
        host=materials.host(context.host),
        candidates=context.candidates,
        optics=Optics(
            context.value("high_tension_kv"),
            convergence.value if isinstance(convergence, Known) else typical("convergence_semi_angle_mrad"),
            context.value("inner_mrad"),
            context.value("outer_mrad"),
            sigma_angstrom,
        ),
        dose_e_per_angstrom2=1.0,
        background=background,
        ratio=1.0,
        nuisance=nuisance or Nuisance(),
        missing=frozenset() if isinstance(convergence, Known) else frozenset({Missing.CONVERGENCE}),
    )


def dose_to_tell(
    library: ResponseLibrary,
    context: ImagingContext | Scene,
    species_a: str,
    species_b: str,
    error_rate: float = 0.01,
    *,
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM,
) -> DoseEstimate:
    """Least dose at which two species are confused in at most a share of the sites, or why there is none.

    See `dose_to_tell_all`.
    """
    return dose_to_tell_all(library, context, (species_a, species_b), error_rate, sigma_angstrom=sigma_angstrom)


def dose_to_tell_all(
    library: ResponseLibrary,
    context: ImagingContext | Scene,
    species: Sequence[str],
    error_rate: float = 0.01,
    *,
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM,
) -> DoseEstimate:
    """Least dose at which no two of some species are confused in more than a share of the sites.

    Parameters
    ----------
    context
        What is imaged and how; a scene brings its own source size.
    species
        At least two; the estimate is that of the pair that needs most.
    error_rate
        For species that are equally frequent.
    sigma_angstrom
        Effective source (standard deviation per axis).

    Raises
    ------
    InputError
        An incomplete context, unknown species, or an error rate outside 0 to 0.5.
    LibraryError
        Where the library has no answer for the conditions.
    """
    scene = context if isinstance(context, Scene) else scene_of(context, sigma_angstrom)
    estimates = [p.dose_to_tell(error_rate) for p in pairs(library, scene, tuple(species))]
    return max(estimates, key=lambda e: (e.dose_e_per_angstrom2, -e.separation))


def _row(candidates: tuple[Candidate, ...], species: str) -> int:
    for row, candidate in enumerate(candidates):
        if candidate.species == species:
            return row
    raise InputError(
        f"{species} cannot occur here. The candidates are {', '.join(c.species for c in candidates)}."
    )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
