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

from stemctx_core.classes import Candidate, Sublattice
from stemctx_core.features import FEATURES, level, projection
from stemctx_core.materials import Host
from stemctx_core.neighbourhood import column_geometry, neighbourhood
from stemctx_core.patches import PITCH
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import Optics, response_tables

#: Columns farther than this do not move the features by thermal or static displacement (lattice constants).
_NEAR = 1.75
_SITE = np.zeros(1, np.intp)


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


def encode(library: ResponseLibrary, scene: Scene) -> EncodedScene:
    """Predict mean and covariance of the features for every candidate.

    Raises
    ------
    LibraryError
        Where the library has no answer for the optics or a column.
    """
    tables = scene_tables(library, scene)
    wider = scene_tables(library, scene, sigma_shift=0.01)
    metal, chalcogen = host_rows(scene.candidates)
    reference = float(max(tables[metal, 0], tables[chalcogen, 0]))
    around = {s: _surroundings(scene, tables, wider, s) for s in Sublattice}
    count = len(scene.candidates)
    mean = np.zeros((count, FEATURES))
    whiten = np.zeros((count, FEATURES, FEATURES))
    log_det = np.zeros(count)
    scale = np.zeros((count, FEATURES))
    noise_per_intensity = 1.0 / (
        scene.dose_e_per_angstrom2 * (PITCH * scene.host.a_angstrom) ** 2 * reference**2
    )
    weights = projection()
    for c, candidate in enumerate(scene.candidates):
        near = around[candidate.sublattice]
        geometry = column_geometry(candidate.sublattice, scene.host.a_angstrom)
        own, own_wider = geometry.patches(tables[c], _SITE), geometry.patches(wider[c], _SITE)
        own_gradients = geometry.gradients(tables[c], _SITE)
        patch = near.patch + own[0]
        signal = own[0] @ weights.T / reference
        features = near.features / reference + signal
        chalcogen_part = near.chalcogen / reference + (
            signal if candidate.sublattice is Sublattice.CHALCOGEN else 0
        )
        own_moves = own_gradients[0] @ weights.T / reference
        sigma_slope = (near.sigma_slope + (own_wider[0] - own[0]) @ weights.T / 0.01) / reference
        n = scene.nuisance
        covariance = near.covariance / reference**2
        covariance = covariance + n.jitter_angstrom**2 * own_moves.T @ own_moves
        shift = near.moves / reference + own_moves
        covariance += n.shift_angstrom**2 * shift.T @ shift
        response_sd = np.hypot(n.amplitude, n.response if candidate.is_defect else 0.0)
        for sd, direction in (
            (response_sd, signal),
            (n.gain, features),
            (n.ratio, chalcogen_part),
            (n.background, level()),
            (n.sigma_angstrom, sigma_slope),
        ):
            covariance += sd**2 * np.outer(direction, direction)
        intensity = np.clip(patch + scene.background * reference, 1e-4 * reference, None)
        covariance += noise_per_intensity * (weights * intensity) @ weights.T
        covariance += 1e-9 * np.eye(FEATURES)
        factor = np.linalg.cholesky(covariance)
        mean[c] = features
        whiten[c] = np.linalg.inv(factor)
        log_det[c] = 2 * np.log(np.diagonal(factor)).sum()
        scale[c] = np.sqrt(np.diagonal(covariance))
    log_dose = np.log10(np.array([scene.dose_e_per_angstrom2 * reference]))
    f = np.float32
    return EncodedScene(
        mean.astype(f), whiten.astype(f), log_det.astype(f), scale.astype(f), log_dose.astype(f), reference
    )


@dataclass(frozen=True)
class _Surroundings:
    """Features of everything but the site's own column, in fractions of the beam."""

    patch: NDArray[np.float64]
    features: NDArray[np.float64]
    chalcogen: NDArray[np.float64]
    moves: NDArray[np.float64]
    sigma_slope: NDArray[np.float64]
    covariance: NDArray[np.float64]


def _surroundings(
    scene: Scene, tables: NDArray[np.float32], wider: NDArray[np.float32], centre: Sublattice
) -> _Surroundings:
    metal, chalcogen = host_rows(scene.candidates)
    near = neighbourhood(centre)
    geometry = column_geometry(centre, scene.host.a_angstrom)
    positions, on_metal = near.positions[1:], near.on_metal[1:]
    weights, n = projection(), scene.nuisance
    features = np.zeros((len(positions), FEATURES))
    moves = np.zeros((len(positions), 2, FEATURES))
    slope = np.zeros(FEATURES)
    patch = np.zeros(weights.shape[1])
    for row, chosen in ((metal, np.flatnonzero(on_metal)), (chalcogen, np.flatnonzero(~on_metal))):
        values = geometry.patches(tables[row], chosen + 1)
        broader = geometry.patches(wider[row], chosen + 1)
        patch += values.sum(axis=0)
        features[chosen] = values @ weights.T
        moves[chosen] = geometry.gradients(tables[row], chosen + 1) @ weights.T
        slope += (broader - values).sum(axis=0) @ weights.T / 0.01
    close = np.linalg.norm(positions, axis=1) < _NEAR
    flat = moves[close].reshape(-1, FEATURES)
    covariance = n.jitter_angstrom**2 * flat.T @ flat
    covariance += n.amplitude**2 * features[close].T @ features[close]
    mean = features.sum(axis=0)
    for here, host_row in ((on_metal, metal), (~on_metal, chalcogen)):
        where = close & here
        change = _typical_change(scene, tables, host_row)
        if n.defects <= 0 or not where.any():
            continue
        difference = change * features[where]
        mean = mean + n.defects * difference.sum(axis=0)
        covariance += n.defects * (1 - n.defects) * difference.T @ difference
    return _Surroundings(
        patch, mean, features[~on_metal].sum(axis=0), moves.sum(axis=0), slope, covariance
    )


def _typical_change(scene: Scene, tables: NDArray[np.float32], host_row: int) -> float:
    """Relative change of a neighbour's peak when it is the likeliest defect of its sublattice."""
    sublattice = scene.candidates[host_row].sublattice
    order = ("D_M", "vac_X", "vac_M")
    others = [
        i for i, c in enumerate(scene.candidates) if c.sublattice is sublattice and c.role.value in order
    ]
    likeliest = min(others, key=lambda i: order.index(scene.candidates[i].role.value))
    return float(tables[likeliest, 0] / tables[host_row, 0] - 1.0)
