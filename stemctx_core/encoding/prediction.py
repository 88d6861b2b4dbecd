"""What each candidate's patch should look like, and how far it may stray.

For every candidate the features of its patch are predicted from the column responses of the declared context, with a
covariance that adds counting noise to every nuisance that is not known exactly: positions, neighbouring defects,
column amplitudes, gain, background, source size, the ratio X2/M and the response of the candidate itself. Optics that
are missing are averaged over, and their spread is part of the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast.features import FEATURES, level, projection
from stemctx_core.contrast.patches import PITCH
from stemctx_core.encoding.scene_columns import scene_columns, scene_reference
from stemctx_core.encoding.surroundings import surroundings
from stemctx_core.scene import MISSING_OPTICS, Nuisance, Scene, check_candidates
from stemctx_core.simulation.library import ResponseLibrary


@dataclass(frozen=True)
class Prediction:
    """What is expected of a candidate, before it is said how large each nuisance is.

    Attributes
    ----------
    mean
        (K,) features in units of the reference, nothing displaced.
    blur
        (K,) change of the mean per Å² of variance along each axis that displacements have.
    components
        Covariance for each nuisance at unit size: `Nuisance` field name; ``counting`` for one electron per Å²,
        ``floor`` for that with a uniform intensity of one reference, and ``spread`` of what the prediction is
        averaged over (missing optics, the orientations of a vacancy beside the site).
    """

    mean: NDArray[np.float64]
    blur: NDArray[np.float64]
    components: dict[str, NDArray[np.float64]]

    def covariance(
        self, nuisance: Nuisance, dose_e_per_angstrom2: float, background: float
    ) -> NDArray[np.float64]:
        """(K, K) covariance with every nuisance at its size."""
        total = 1e-9 * np.eye(FEATURES)
        for name, component in self.components.items():
            total += _size(name, nuisance, dose_e_per_angstrom2, background) * component
        return total


def _size(name: str, nuisance: Nuisance, dose_e_per_angstrom2: float, background: float) -> float:
    """What the component of that name is multiplied with."""
    if name == "counting":
        return 1 / dose_e_per_angstrom2
    if name == "floor":
        return background / dose_e_per_angstrom2
    if name == "defects":
        return nuisance.defects * (1 - nuisance.defects)
    return 1.0 if name == "spread" else float(getattr(nuisance, name)) ** 2


@dataclass(frozen=True, eq=False)
class Predictions:
    """One prediction a candidate, and what they rest on.

    Attributes
    ----------
    reference
        Peak of the brighter host column as a fraction of the beam; what the predictions are in units of.
    scene
        Which scene they are of.
    expected_ratio
        Simulated X2/M of the host.
    ratio
        The frame's own X2/M over that: the scene's, where no optics are missing.
    scene_reference
        The reference for the scene's own optics, which a frame is calibrated with; another one where some are missing
        and `reference` is a mean over what is plausible.
    """

    candidates: tuple[Prediction, ...]
    reference: float
    scene: Scene
    expected_ratio: float
    ratio: float
    scene_reference: float

    def covariances(
        self, nuisance: Nuisance, dose_e_per_angstrom2: float, background: float
    ) -> NDArray[np.float64]:
        """(C, K, K) `Prediction.covariance` of every candidate, in one product."""
        names, components = self._components
        sizes = np.array([_size(name, nuisance, dose_e_per_angstrom2, background) for name in names])
        shape = (len(self.candidates), FEATURES, FEATURES)
        total: NDArray[np.float64] = (sizes @ components.reshape(len(names), -1)).reshape(shape)
        total += 1e-9 * np.eye(FEATURES)
        return total

    @cached_property
    def _components(self) -> tuple[list[str], NDArray[np.float64]]:
        """Names, and (names, C, K, K) with zeros where a candidate has none."""
        names = sorted({name for p in self.candidates for name in p.components})
        none = np.zeros((FEATURES, FEATURES))
        return names, np.stack([[p.components.get(name, none) for p in self.candidates] for name in names])


def predict(library: ResponseLibrary, scene: Scene) -> Predictions:
    """Expected features of every candidate, and how each nuisance would move them.

    Raises
    ------
    InputError
        A candidate list that is empty, lacks the host or names a column twice.
    LibraryError
        Where the library has no answer for the optics or a column.
    """
    check_candidates(scene.host, scene.candidates)
    columns = scene_columns(library, scene)
    around = {s: surroundings(scene, columns, s) for s in Sublattice}
    area = (PITCH * scene.host.a_angstrom) ** 2
    floor = projection() @ projection().T / (area * columns.reference)
    background = _square(level())
    predicted = []
    for row, candidate in enumerate(scene.candidates):
        near = around[candidate.sublattice]
        nodes, curved = columns.mean[row], columns.curved[row]
        signal = nodes @ near.maps.own
        beside = near.beside if candidate.vacancy_beside else np.zeros((1, FEATURES))
        features = near.features + signal + beside.mean(axis=0)
        moves = np.tensordot(nodes, near.maps.own_move, 1)
        shift = near.moves + moves
        curvature = near.curvature + curved @ near.maps.own
        on_chalcogen = candidate.sublattice is Sublattice.CHALCOGEN
        away = beside - beside.mean(axis=0)
        differing = near.differing + columns.differing[:, row] @ near.maps.own
        counting = near.counting + np.tensordot(nodes, near.maps.counting[0], 1)
        components = {
            "jitter_angstrom": near.jitter + moves.T @ moves,
            "shift_angstrom": shift.T @ shift,
            "amplitude": near.amplitude + _square(signal),
            "response": _square(signal) * candidate.is_defect,
            "gain": _square(features),
            "ratio": _square(near.chalcogen + signal * on_chalcogen),
            "background": background,
            "sigma_angstrom": _square(scene.optics.sigma_angstrom * curvature),
            "defects": near.defects,
            "counting": counting / (area * columns.reference),
            "floor": floor,
        }
        if candidate.vacancy_beside or len(differing) > 1:
            components["spread"] = away.T @ away / len(away) + differing.T @ differing / len(differing)
        predicted.append(Prediction(features, curvature / 2, components))
    return Predictions(
        candidates=tuple(predicted),
        reference=columns.reference,
        scene=scene,
        expected_ratio=columns.expected_ratio,
        ratio=columns.ratio,
        scene_reference=scene_reference(library, scene)
        if scene.missing & MISSING_OPTICS
        else columns.reference,
    )


def _square(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.outer(direction, direction)
