"""Context and candidates to the model's inputs: what each candidate's patch should look like, and how far it may stray.

For every candidate the features of its patch are predicted from the column responses of the declared context, with a
covariance that adds counting noise to every nuisance that is not known exactly: positions, neighbouring defects,
column amplitudes, gain, background, source size, the ratio X2/M and the response of the candidate itself. Optics that
are missing are averaged over, and their spread is part of the covariance. The model sees a patch only through its
whitened distance from each candidate, so a candidate list may have any length and a dopant, host or detector that
was never trained on enters through its simulated response.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

from stemctx_core.classes import Candidate, Role, Sublattice
from stemctx_core.column_features import NODES, ColumnMaps, column_maps, laplacian
from stemctx_core.compositions import compositions, context_vector
from stemctx_core.features import FEATURES, level, projection
from stemctx_core.patches import PITCH
from stemctx_core.plausible import plausible_optics
from stemctx_core.scene import MISSING_OPTICS as MISSING_OPTICS
from stemctx_core.scene import Missing as Missing
from stemctx_core.scene import Nuisance as Nuisance
from stemctx_core.scene import Scene as Scene
from stemctx_core.scene import check_candidates as check_candidates
from stemctx_core.scene import host_columns as host_columns
from stemctx_core.scene import host_rows as host_rows
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import response_tables


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
    composition
        (C, COMPOSITION_WIDTH) what stands in each candidate's column.
    context
        (CONTEXT_WIDTH,) what is known of the scene.
    reference
        Peak of the brighter host column as a fraction of the beam; patches are given in units of it.
    candidates
        The list that the rows are of.
    """

    mean: NDArray[np.float32]
    whiten: NDArray[np.float32]
    log_det: NDArray[np.float32]
    scale: NDArray[np.float32]
    log_dose: NDArray[np.float32]
    composition: NDArray[np.float32]
    context: NDArray[np.float32]
    reference: float
    candidates: tuple[Candidate, ...]

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Arrays by the names they have in the exported graph."""
        return {
            "mean": self.mean,
            "whiten": self.whiten,
            "log_det": self.log_det,
            "scale": self.scale,
            "log_dose": self.log_dose,
            "composition": self.composition,
            "context": self.context,
        }


def scene_tables(library: ResponseLibrary, scene: Scene, extra: tuple[str, ...] = ()) -> NDArray[np.float32]:
    """Response tables of the candidates, the chalcogen sublattice scaled by the scene's ratio.

    Parameters
    ----------
    extra
        Further columns of the chalcogen sublattice.

    Returns
    -------
    numpy.ndarray
        (C + extra, table length), fractions of the beam.
    """
    tables = response_tables(library, [*(c.column for c in scene.candidates), *extra], scene.optics)
    factors = [scene.ratio if c.sublattice is Sublattice.CHALCOGEN else 1.0 for c in scene.candidates]
    factors += [scene.ratio] * len(extra)
    return tables * np.array(factors, np.float32)[:, None]


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


@dataclass(frozen=True)
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
    columns = _columns(library, scene)
    around = {s: _surroundings(scene, columns, s) for s in Sublattice}
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
        scene_reference=_reference(library, scene) if scene.missing & MISSING_OPTICS else columns.reference,
    )


def inverse_factors(
    covariances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, K, K) Cholesky factors of covariances, and their inverses."""
    factors = np.asarray(np.linalg.cholesky(covariances), np.float64)
    return factors, np.stack([dtrtri(factor, lower=1)[0] for factor in factors])


def assemble(
    predictions: Predictions,
    nuisance: Nuisance,
    dose_e_per_angstrom2: float,
    background: float,
    *,
    sigma_includes_scatter: bool = False,
    covariances: NDArray[np.float64] | None = None,
) -> EncodedScene:
    """Predictions and the size of each nuisance to the model's inputs.

    Parameters
    ----------
    background
        Uniform intensity whose counting noise is in the frame, in units of the reference.
    covariances
        (C, K, K) for these, where they are known already.
    sigma_includes_scatter
        Whether the scene's source size was measured on the mean of many sites, which their displacements blur.
        Otherwise the predictions are blurred by them here.
    """
    variance = 0.0 if sigma_includes_scatter else nuisance.jitter_angstrom**2 + nuisance.shift_angstrom**2
    mean = np.stack([p.mean + variance * p.blur for p in predictions.candidates])
    if covariances is None:
        covariances = predictions.covariances(nuisance, dose_e_per_angstrom2, background)
    factors, whiten = inverse_factors(covariances)
    log_dose = float(np.log10(dose_e_per_angstrom2 * predictions.reference))
    told = replace(predictions.scene, nuisance=nuisance, background=background)
    return EncodedScene(
        mean=mean.astype(np.float32),
        whiten=whiten.astype(np.float32),
        log_det=2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1).astype(np.float32),
        scale=np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)).astype(np.float32),
        log_dose=np.array([log_dose], np.float32),
        composition=compositions(predictions.scene.candidates),
        context=context_vector(told, log_dose, predictions.expected_ratio, predictions.ratio),
        reference=predictions.reference,
        candidates=predictions.scene.candidates,
    )


def encode(library: ResponseLibrary, scene: Scene) -> EncodedScene:
    """Predict and assemble in one step, for a scene whose nuisances are known."""
    return assemble(predict(library, scene), scene.nuisance, scene.dose_e_per_angstrom2, scene.background)


def _square(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.outer(direction, direction)


@dataclass(frozen=True)
class _Columns:
    """Responses of the candidates, and last of a lone chalcogen of the host, at the nodes, in units of the reference.

    Attributes
    ----------
    mean, curved
        (C + 1, N) averaged over the plausible optics, and its Laplacian.
    differing
        (optics, C + 1, N) of each optics from that.
    """

    mean: NDArray[np.float64]
    curved: NDArray[np.float64]
    differing: NDArray[np.float64]
    reference: float
    expected_ratio: float
    ratio: float


def _columns(library: ResponseLibrary, scene: Scene) -> _Columns:
    metal, chalcogen = host_rows(scene.candidates)
    optics = [(scene.optics, scene.ratio)]
    if scene.missing & MISSING_OPTICS:
        optics = plausible_optics(library, scene)
    each, references, ratios = [], [], []
    for plausible, ratio in optics:
        tables = scene_tables(
            library, replace(scene, optics=plausible, ratio=ratio), extra=(scene.host.chalcogen,)
        )
        nodes = tables[:, NODES].astype(np.float64)
        references.append(float(max(nodes[metal, 0], nodes[chalcogen, 0])))
        ratios.append(float(nodes[chalcogen, 0] / nodes[metal, 0]) / ratio)
        each.append(nodes / references[-1])
    mean = np.mean(each, axis=0)
    curved = mean @ laplacian().T
    left = float(np.exp(np.mean(np.log([ratio for _, ratio in optics]))))
    return _Columns(
        mean, curved, np.array(each) - mean, float(np.mean(references)), float(np.mean(ratios)), left
    )


def _reference(library: ResponseLibrary, scene: Scene) -> float:
    """Peak of the brighter host column for the scene's own optics."""
    return float(scene_tables(library, scene)[list(host_rows(scene.candidates)), 0].max())


@dataclass(frozen=True)
class _Surroundings:
    """Everything but the site's own column, in units of the reference; covariances at unit nuisance.

    Attributes
    ----------
    beside
        (3, K) what changes where a chalcogen is missing in each of the nearest chalcogen columns.
    differing
        (optics, K) deviation for each of the plausible optics.
    """

    maps: ColumnMaps
    features: NDArray[np.float64]
    chalcogen: NDArray[np.float64]
    moves: NDArray[np.float64]
    curvature: NDArray[np.float64]
    jitter: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    defects: NDArray[np.float64]
    counting: NDArray[np.float64]
    beside: NDArray[np.float64]
    differing: NDArray[np.float64]


def _surroundings(scene: Scene, columns: _Columns, centre: Sublattice) -> _Surroundings:
    rows = list(host_rows(scene.candidates))
    maps = column_maps(centre, scene.host.a_angstrom)
    host = columns.mean[rows]
    together = np.einsum("kn,knf->kf", host, maps.all)
    near = [np.tensordot(host[k], maps.near[k], 1) for k in (0, 1)]
    moves = np.concatenate([np.tensordot(host[k], maps.near_move[k], 1) for k in (0, 1)]).reshape(-1, FEATURES)
    change = [_typical_change(scene, columns.mean, row) for row in rows]
    features = np.concatenate(near)
    difference = np.concatenate([c * n for c, n in zip(change, near, strict=True)])
    missing_one = columns.mean[-1] - columns.mean[rows[1]]
    return _Surroundings(
        maps=maps,
        features=together.sum(axis=0) + scene.nuisance.defects * difference.sum(axis=0),
        chalcogen=together[1],
        moves=np.tensordot(host, maps.all_move, 2),
        curvature=np.einsum("kn,knf->f", columns.curved[rows], maps.all),
        jitter=moves.T @ moves,
        amplitude=features.T @ features,
        defects=difference.T @ difference,
        counting=np.tensordot(host, maps.counting[1:], 2),
        beside=np.tensordot(missing_one, maps.near[1][:, :3], 1),
        differing=np.einsum("okn,knf->of", columns.differing[:, rows], maps.all),
    )


def _typical_change(scene: Scene, nodes: NDArray[np.float64], host_row: int) -> float:
    """Relative change of a neighbour's peak when it is the likeliest defect of its sublattice."""
    order = (Role.DOPANT, Role.CHALCOGEN_VACANCY, Role.METAL_VACANCY)
    sublattice = scene.candidates[host_row].sublattice
    others = [i for i, c in enumerate(scene.candidates) if c.sublattice is sublattice and c.role in order]
    if not others:
        return 0.0
    likeliest = min(others, key=lambda i: order.index(scene.candidates[i].role))
    return float(nodes[likeliest, 0] / nodes[host_row, 0] - 1.0)
