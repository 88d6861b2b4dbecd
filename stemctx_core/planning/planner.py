"""How much dose tells the candidates of a site apart: a set is told apart when its hardest pair is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext, Known
from stemctx_core.encoding.knowledge import typical
from stemctx_core.planning.pairs import DoseEstimate, pairs
from stemctx_core.scene import Missing, Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM, Optics

#: Uniform intensity beside the columns, in units of the brighter host column's peak.
TYPICAL_BACKGROUND: Final = 0.02


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
