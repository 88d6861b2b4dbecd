"""Context and candidates to the model's inputs: what each candidate's patch should look like, and how far it may stray.

For every candidate the features of its patch are predicted from the column responses of the declared context, with a
covariance that adds counting noise to every nuisance that is not known exactly: positions, neighbouring defects,
column amplitudes, gain, background, source size, the ratio X2/M and the response of the candidate itself. The model
sees a patch only through its whitened distance from each candidate, so a candidate list may have any length and a
dopant, host or detector that was never trained on enters through its simulated response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classes import Candidate, Role, Sublattice
from stemctx_core.features import FEATURES, level, projection
from stemctx_core.materials import Host
from stemctx_core.neighbourhood import column_geometry, neighbourhood
from stemctx_core.patches import PITCH
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import Optics, response_tables

#: Columns farther than this do not move the features by thermal or static displacement (lattice constants).
_NEAR = 1.75
_SITE = np.zeros(1, np.intp)
_SIGMA_STEP = 0.01


@dataclass(frozen=True)
class Nuisance:
    """How far a frame may stray from the prediction, standard deviations.

    Attributes
    ----------
    jitter_angstrom, shift_angstrom
        Displacement of single columns, and of the whole patch (error of the site grid), per axis.
    amplitude
        Scatter of column amplitudes, relative.
    gain, ratio
        Error of the intensity scale and of the ratio X2/M, relative.
    background
        Error of the background in units of the brighter host column's peak.
    sigma_angstrom
        Error of the effective source.
    response
        Error of a candidate's simulated response, relative.
    defects
        Probability that a neighbour is not the host's own column.
    """

    jitter_angstrom: float = 0.05
    shift_angstrom: float = 0.05
    amplitude: float = 0.0
    gain: float = 0.002
    ratio: float = 0.005
    background: float = 0.002
    sigma_angstrom: float = 0.005
    response: float = 0.01
    defects: float = 0.03


@dataclass(frozen=True)
class Scene:
    """Everything a prediction rests on.

    Attributes
    ----------
    host, candidates
        The crystal and what a site of it may be.
    optics
        Probe, detector and effective source.
    dose_e_per_angstrom2
        Electrons per area.
    background
        In units of the brighter host column's peak.
    ratio
        Factor on every column of the chalcogen sublattice: what the frame's own X2/M is over the simulated one.
    nuisance
        Uncertainties.
    """

    host: Host
    candidates: tuple[Candidate, ...]
    optics: Optics
    dose_e_per_angstrom2: float
    background: float
    ratio: float
    nuisance: Nuisance


@dataclass(frozen=True)
class EncodedScene:
    """The model's context inputs, all float32; C candidates, K features.

    Attributes
    ----------
    mean
        (C, K) predicted features in units of `reference`.
    whiten
        (C, K, K) inverse Cholesky factor of the covariance.
    log_det
        (C,) logarithm of the covariance's determinant.
    scale
        (C, K) standard deviation of each feature.
    log_dose
        (1,) log10 of electrons per Å² times `reference`.
    reference
        Peak of the brighter host column as a fraction of the beam; patches are given in units of it.
    """

    mean: NDArray[np.float32]
    whiten: NDArray[np.float32]
    log_det: NDArray[np.float32]
    scale: NDArray[np.float32]
    log_dose: NDArray[np.float32]
    reference: float

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Arrays by the names they have in the exported graph."""
        return {
            "mean": self.mean,
            "whiten": self.whiten,
            "log_det": self.log_det,
            "scale": self.scale,
            "log_dose": self.log_dose,
        }


def host_columns(host: Host) -> tuple[str, str]:
    """Library keys of the host's metal and full chalcogen column."""
    return host.metal, f"{host.chalcogen}+{host.chalcogen}"


def scene_tables(library: ResponseLibrary, scene: Scene, sigma_shift: float = 0.0) -> NDArray[np.float32]:
    """Response tables of the candidates, the chalcogen sublattice scaled by the scene's ratio.

    Returns
    -------
    numpy.ndarray
        (C, table length), fractions of the beam.
    """
    o = scene.optics
    optics = Optics(
        o.high_tension_kv,
        o.convergence_semi_angle_mrad,
        o.inner_mrad,
        o.outer_mrad,
        o.sigma_angstrom + sigma_shift,
    )
    tables = response_tables(library, [c.column for c in scene.candidates], optics)
    factors = [scene.ratio if c.sublattice is Sublattice.CHALCOGEN else 1.0 for c in scene.candidates]
    return tables * np.array(factors, np.float32)[:, None]


def host_rows(candidates: Sequence[Candidate]) -> tuple[int, int]:
    """Rows of the host's metal and full chalcogen column in a candidate list."""
    rows = [i for i, c in enumerate(candidates) if not c.is_defect]
    metal = next(i for i in rows if candidates[i].sublattice is Sublattice.METAL)
    return metal, next(i for i in rows if i != metal)


@dataclass(frozen=True)
class Prediction:
    """What is expected of a candidate, before it is said how large each nuisance is.

    Attributes
    ----------
    mean
        (K,) features in units of the reference.
    components
        Covariance for each nuisance at unit size: `Nuisance` field name; ``counting`` for one electron per Å², and
        ``floor`` for that with a uniform intensity of one reference.
    """

    mean: NDArray[np.float64]
    components: dict[str, NDArray[np.float64]]

    def covariance(
        self, nuisance: Nuisance, dose_e_per_angstrom2: float, background: float
    ) -> NDArray[np.float64]:
        """(K, K) covariance with every nuisance at its size."""
        sizes = {
            "counting": 1 / dose_e_per_angstrom2,
            "floor": background / dose_e_per_angstrom2,
            "defects": nuisance.defects * (1 - nuisance.defects),
        }
        total = 1e-9 * np.eye(FEATURES)
        for name, component in self.components.items():
            size = sizes[name] if name in sizes else getattr(nuisance, name) ** 2
            total += size * component
        return total


@dataclass(frozen=True)
class Predictions:
    """One prediction a candidate, and the intensity that they are in units of.

    Attributes
    ----------
    reference
        Peak of the brighter host column as a fraction of the beam.
    """

    candidates: tuple[Prediction, ...]
    reference: float


def predict(library: ResponseLibrary, scene: Scene) -> Predictions:
    """Expected features of every candidate, and how each nuisance would move them.

    Raises
    ------
    LibraryError
        Where the library has no answer for the optics or a column.
    """
    tables = scene_tables(library, scene)
    wider = scene_tables(library, scene, sigma_shift=_SIGMA_STEP)
    metal, chalcogen = host_rows(scene.candidates)
    reference = float(max(tables[metal, 0], tables[chalcogen, 0]))
    around = {s: _surroundings(scene, tables / reference, wider / reference, s) for s in Sublattice}
    area = (PITCH * scene.host.a_angstrom) ** 2
    weights = projection()
    predicted = []
    for candidate, table, broader in zip(scene.candidates, tables / reference, wider / reference, strict=True):
        near = around[candidate.sublattice]
        geometry = column_geometry(candidate.sublattice, scene.host.a_angstrom)
        own = geometry.patches(table, _SITE)
        signal = (own @ weights.T)[0]
        moves = geometry.gradients(table, _SITE)[0] @ weights.T
        features = near.features + signal
        on_chalcogen = candidate.sublattice is Sublattice.CHALCOGEN
        slope = near.sigma_slope + ((geometry.patches(broader, _SITE) - own) @ weights.T)[0] / _SIGMA_STEP
        intensity = np.clip(near.patch + own[0], 1e-4, None)
        shift = near.moves + moves
        predicted.append(
            Prediction(
                features,
                {
                    "jitter_angstrom": near.jitter + moves.T @ moves,
                    "shift_angstrom": shift.T @ shift,
                    "amplitude": near.amplitude + np.outer(signal, signal),
                    "response": np.outer(signal, signal) * candidate.is_defect,
                    "gain": np.outer(features, features),
                    "ratio": _square(near.chalcogen + signal * on_chalcogen),
                    "background": _square(level()),
                    "sigma_angstrom": _square(slope),
                    "defects": near.defects,
                    "counting": (weights * intensity) @ weights.T / (area * reference),
                    "floor": weights @ weights.T / (area * reference),
                },
            )
        )
    return Predictions(tuple(predicted), reference)


def assemble(
    predictions: Predictions, nuisance: Nuisance, dose_e_per_angstrom2: float, background: float
) -> EncodedScene:
    """Predictions and the size of each nuisance to the model's inputs.

    Parameters
    ----------
    background
        Uniform intensity whose counting noise is in the frame, in units of the reference.
    """
    mean, whiten, log_det, scale = [], [], [], []
    for prediction in predictions.candidates:
        covariance = prediction.covariance(nuisance, dose_e_per_angstrom2, background)
        factor = np.linalg.cholesky(covariance)
        mean.append(prediction.mean)
        whiten.append(np.linalg.inv(factor))
        log_det.append(2 * np.log(np.diagonal(factor)).sum())
        scale.append(np.sqrt(np.diagonal(covariance)))
    log_dose = np.log10(dose_e_per_angstrom2 * predictions.reference)
    return EncodedScene(
        np.array(mean, np.float32),
        np.array(whiten, np.float32),
        np.array(log_det, np.float32),
        np.array(scale, np.float32),
        np.array([log_dose], np.float32),
        predictions.reference,
    )


def encode(library: ResponseLibrary, scene: Scene) -> EncodedScene:
    """Predict and assemble in one step, for a scene whose nuisances are known."""
    return assemble(predict(library, scene), scene.nuisance, scene.dose_e_per_angstrom2, scene.background)


def _square(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.outer(direction, direction)


@dataclass(frozen=True)
class _Surroundings:
    """Everything but the site's own column, in units of the reference; covariances at unit nuisance."""

    patch: NDArray[np.float64]
    features: NDArray[np.float64]
    chalcogen: NDArray[np.float64]
    moves: NDArray[np.float64]
    sigma_slope: NDArray[np.float64]
    jitter: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    defects: NDArray[np.float64]


def _surroundings(
    scene: Scene, tables: NDArray[np.float32], wider: NDArray[np.float32], centre: Sublattice
) -> _Surroundings:
    metal, chalcogen = host_rows(scene.candidates)
    near = neighbourhood(centre)
    geometry = column_geometry(centre, scene.host.a_angstrom)
    positions, on_metal = near.positions[1:], near.on_metal[1:]
    weights, rate = projection(), scene.nuisance.defects
    features = np.zeros((len(positions), FEATURES))
    moves = np.zeros((len(positions), 2, FEATURES))
    slope = np.zeros(FEATURES)
    patch = np.zeros(weights.shape[1])
    change = np.zeros(len(positions))
    for row, chosen in ((metal, np.flatnonzero(on_metal)), (chalcogen, np.flatnonzero(~on_metal))):
        values = geometry.patches(tables[row], chosen + 1)
        broader = geometry.patches(wider[row], chosen + 1)
        patch += values.sum(axis=0)
        features[chosen] = values @ weights.T
        moves[chosen] = geometry.gradients(tables[row], chosen + 1) @ weights.T
        slope += (broader - values).sum(axis=0) @ weights.T / _SIGMA_STEP
        change[chosen] = _typical_change(scene, tables, row)
    close = np.linalg.norm(positions, axis=1) < _NEAR
    flat = moves[close].reshape(-1, FEATURES)
    difference = change[close, None] * features[close]
    return _Surroundings(
        patch=patch,
        features=features.sum(axis=0) + rate * difference.sum(axis=0),
        chalcogen=features[~on_metal].sum(axis=0),
        moves=moves.sum(axis=0),
        sigma_slope=slope,
        jitter=flat.T @ flat,
        amplitude=features[close].T @ features[close],
        defects=difference.T @ difference,
    )


def _typical_change(scene: Scene, tables: NDArray[np.float32], host_row: int) -> float:
    """Relative change of a neighbour's peak when it is the likeliest defect of its sublattice."""
    order = (Role.DOPANT, Role.CHALCOGEN_VACANCY, Role.METAL_VACANCY)
    sublattice = scene.candidates[host_row].sublattice
    others = [i for i, c in enumerate(scene.candidates) if c.sublattice is sublattice and c.role in order]
    likeliest = min(others, key=lambda i: order.index(scene.candidates[i].role))
    return float(tables[likeliest, 0] / tables[host_row, 0] - 1.0)
