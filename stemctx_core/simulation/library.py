"""The response library at run time: what a detector sees of a column, for any ring of angles it holds.

A profile is the detected fraction of the beam as a function of the distance of the probe from the column. The
library holds columns at rest (pairs: for several displacements of their two atoms against each other); thermal
motion and the effective source are Gaussian blurs applied here.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import i0e

from stemctx_core.errors import LibraryError
from stemctx_core.simulation import columns

RINGS_NOT_MEASURED: Final = np.float32(np.nan)
#: Superposition of columns fails for rings close to the bright-field disc, and for narrow detectors.
INNER_MARGIN_MRAD: Final = 5.0
NARROWEST_DETECTOR_MRAD: Final = 25.0
#: The library is of one convergence angle; other angles move X2/M by up to 0.035 within this distance.
CONVERGENCE_TOLERANCE_MRAD: Final = 5.0

PROFILE_STEP_ANGSTROM: Final = 0.05
PROFILE_RADII_ANGSTROM: Final = np.arange(0.0, 8.0, PROFILE_STEP_ANGSTROM)


class ResponseLibrary:
    """Column responses read from a file.

    Parameters
    ----------
    path
        An ``.npz`` written by `write_library`, with its ``.json`` beside it.

    Raises
    ------
    LibraryError
        Where either file is missing, damaged or does not match the other.
    """

    def __init__(self, path: Path) -> None:
        try:
            raw = path.read_bytes()
            provenance = json.loads(path.with_suffix(".json").read_text())
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"The response library {path.name} cannot be read: {error}. Rebuild it with 'stemctx simulate library'."
            ) from error
        self.sha256 = hashlib.sha256(raw).hexdigest()
        if not isinstance(provenance, dict) or self.sha256 != provenance.get("sha256"):
            raise LibraryError(
                f"The response library {path.name} is not the one its provenance describes (sha256 differs). "
                "Reinstall stemctx or rebuild it with 'stemctx simulate library'."
            )
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
                self._radii = stored["radii_angstrom"]
                self._singles = stored["singles"]
                self._pairs = stored["pairs"]
                self._displacements = stored["pair_displacements_angstrom"]
            self.provenance: dict[str, Any] = provenance
            self.high_tensions_kv = tuple(float(v) for v in provenance["high_tensions_kv"])
            self.convergence_semi_angle_mrad = float(provenance["convergence_semi_angle_mrad"])
            self.columns = (*provenance["singles"], *provenance["pairs"])
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise LibraryError(
                f"{path.name} is not a response library: {error}. Build one with 'stemctx simulate library'."
            ) from error
        self._profiles: dict[tuple[object, ...], NDArray[np.float64]] = {}

    def check(
        self, high_tension_kv: float, convergence_semi_angle_mrad: float, inner_mrad: float, outer_mrad: float
    ) -> None:
        """Raise `LibraryError` with the fix where the library cannot answer for these conditions."""
        self._energy_index(high_tension_kv)
        if abs(convergence_semi_angle_mrad - self.convergence_semi_angle_mrad) > CONVERGENCE_TOLERANCE_MRAD:
            raise LibraryError(
                f"The library holds a convergence semi-angle of {self.convergence_semi_angle_mrad:g} mrad, "
                f"{convergence_semi_angle_mrad:g} mrad is too far from it. Build one with "
                f"'stemctx simulate library --convergence-mrad {convergence_semi_angle_mrad:g}'."
            )
        lowest = max(self._inner, convergence_semi_angle_mrad + INNER_MARGIN_MRAD)
        highest = self.outer_limit_mrad(high_tension_kv)
        if inner_mrad < lowest or outer_mrad > highest or outer_mrad - inner_mrad < NARROWEST_DETECTOR_MRAD:
            raise LibraryError(
                f"The detector {inner_mrad:g}-{outer_mrad:g} mrad is outside what columns can be added up for: "
                f"inner angle at least {lowest:g}, outer at most {highest:g} at {high_tension_kv:g} kV, "
                f"{NARROWEST_DETECTOR_MRAD:g} mrad wide or more. Check the angles, or use another detector."
            )

    @property
    def _inner(self) -> float:
        return float(self.provenance["ring_inner_mrad"])

    def outer_limit_mrad(self, high_tension_kv: float) -> float:
        """Outermost angle held at an energy (mrad)."""
        return float(self.provenance["ring_outer_mrad"][f"{self._nearest(high_tension_kv):g}"])

    def _nearest(self, high_tension_kv: float) -> float:
        return min(self.high_tensions_kv, key=lambda kv: abs(kv - high_tension_kv))

    def _energy_index(self, high_tension_kv: float) -> int:
        nearest = self._nearest(high_tension_kv)
        if not abs(nearest / high_tension_kv - 1) < 0.02:
            held = ", ".join(f"{kv:g}" for kv in self.high_tensions_kv)
            raise LibraryError(
                f"The response library holds {held} kV, not {high_tension_kv:g} kV. Build one with "
                f"'stemctx simulate library --high-tension-kv {high_tension_kv:g}'."
            )
        return self.high_tensions_kv.index(nearest)

    def ring_weights(self, inner_mrad: float, outer_mrad: float) -> NDArray[np.float64]:
        """How much of each ring a detector sees; a ring cut by an edge counts by its share of the area."""
        rings = self._singles.shape[-1]
        width = float(self.provenance["ring_width_mrad"])
        low = self._inner + width * np.arange(rings)
        high = low + width
        seen_low, seen_high = np.clip(inner_mrad, low, high), np.clip(outer_mrad, low, high)
        weights: NDArray[np.float64] = (seen_high**2 - seen_low**2) / (high**2 - low**2)
        return weights

    def profile(
        self, column: str, high_tension_kv: float, inner_mrad: float, outer_mrad: float, sigma_angstrom: float
    ) -> NDArray[np.float64]:
        """Detected fraction of the beam at `PROFILE_RADII_ANGSTROM` from the column.

        Parameters
        ----------
        column
            Key as in `stemctx_core.simulation.columns`.
        sigma_angstrom
            Effective source (Å, standard deviation per axis); thermal motion is added to it here.

        Returns
        -------
        numpy.ndarray
            (len(PROFILE_RADII_ANGSTROM),)
        """
        if column == columns.VACANT:
            return np.zeros_like(PROFILE_RADII_ANGSTROM)
        # Rounded before it is used, so that what is cached does not depend on who asked first.
        sigma_angstrom = round(sigma_angstrom, 4)
        key = (column, high_tension_kv, inner_mrad, outer_mrad, sigma_angstrom)
        cached = self._profiles.get(key)
        if cached is None:
            at_rest, motion = self._at_rest(column, high_tension_kv, inner_mrad, outer_mrad)
            cached = _blur_matrix(round(float(np.hypot(sigma_angstrom, motion)), 4)) @ at_rest
            if len(self._profiles) > 4096:
                self._profiles.clear()
            self._profiles[key] = cached
        return cached

    def rings_at_rest(
        self, column: str, high_tension_kv: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Distances of the probe (Å), displacements of a pair's atoms (Å), and (displacements, distances, rings)."""
        energy = self._energy_index(high_tension_kv)
        if columns.is_pair(column):
            stored = self._pairs[energy, self.provenance["pairs"].index(column)]
            return self._radii, self._displacements[energy], stored.astype(np.float64)
        stored = self._singles[energy, self.provenance["singles"].index(column)]
        return self._radii, np.zeros(1), stored[None].astype(np.float64)

    def _at_rest(
        self, column: str, high_tension_kv: float, inner_mrad: float, outer_mrad: float
    ) -> tuple[NDArray[np.float64], float]:
        """Profile before Gaussian blurs, and the thermal motion of the column's centre (Å rms per axis)."""
        if column not in self.columns:
            raise LibraryError(
                f"The response library has no column '{column}'. Build one with 'stemctx simulate library --column {column}'."
            )
        energy = self._energy_index(high_tension_kv)
        weights = self.ring_weights(inner_mrad, outer_mrad)
        used = weights > 0
        motions = [columns.thermal_rms_angstrom(e) for e in columns.elements(column)]
        if columns.is_pair(column):
            stored = self._pairs[energy, self.provenance["pairs"].index(column)]
            shares = _rayleigh_weights(self._displacements[energy], math.hypot(*motions))
            rings = np.tensordot(shares, stored[..., used].astype(np.float64), axes=1)
            motion = math.hypot(*motions) / 2
        else:
            rings = self._singles[energy, self.provenance["singles"].index(column)][:, used].astype(np.float64)
            motion = motions[0]
        return _on_fine_radii(self._radii, rings @ weights[used]), motion


def write_library(path: Path, arrays: dict[str, NDArray[np.generic]], provenance: dict[str, object]) -> None:
    """Write the arrays and, beside them, the provenance with the sha256 of the array file.

    Both are written under another name first, so that neither is ever there in half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".json")
    array_part, text_part = path.with_name(path.name + ".part"), beside.with_name(beside.name + ".part")
    with array_part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    provenance["sha256"] = hashlib.sha256(array_part.read_bytes()).hexdigest()
    text_part.write_text(json.dumps(provenance, indent=1) + "\n")
    os.replace(array_part, path)
    os.replace(text_part, beside)


@lru_cache(maxsize=1)
def shipped_library() -> ResponseLibrary:
    """The library that comes with the package."""
    return ResponseLibrary(Path(str(resources.files("stemctx_core") / "bundles" / "responses.npz")))


def _rayleigh_weights(displacements: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Share of each tabulated displacement in the thermal (Rayleigh) distribution.

    Linear interpolation between tabulated displacements, integrated over the distribution with per-axis standard
    deviation `sigma` (Å); what lies beyond the last one counts to it.
    """
    fine = np.linspace(0, 6 * sigma, 2001)
    density = fine * np.exp(-(fine**2) / (2 * sigma**2))
    basis = np.stack([np.interp(fine, displacements, row) for row in np.eye(len(displacements))])
    shares: NDArray[np.float64] = basis @ density / density.sum()
    return shares


def _on_fine_radii(radii: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic spline to `PROFILE_RADII_ANGSTROM`, with an exponential tail beyond the last measured radius."""
    spline = CubicSpline(radii, values, bc_type=((1, 0.0), (2, 0.0)))
    fine = spline(np.clip(PROFILE_RADII_ANGSTROM, 0, radii[-1]))
    tail = np.exp(-np.clip(PROFILE_RADII_ANGSTROM - radii[-1], 0, None))
    result: NDArray[np.float64] = np.clip(fine, 0, None) * tail
    return result


@lru_cache(maxsize=256)
def _blur_matrix(sigma_angstrom: float) -> NDArray[np.float64]:
    """Two-dimensional Gaussian blur of a radial profile as a matrix over `PROFILE_RADII_ANGSTROM`.

    K(r, q) = exp(-(r² + q²) / 2σ²) I₀(rq/σ²) q dq / σ², rows normalised.
    """
    radii = PROFILE_RADII_ANGSTROM
    if sigma_angstrom < PROFILE_STEP_ANGSTROM:
        return np.eye(len(radii))
    to, of = radii[:, None], radii[None, :]
    variance = sigma_angstrom**2
    kernel = np.exp(-((to - of) ** 2) / (2 * variance)) * i0e(to * of / variance)
    area = of * PROFILE_STEP_ANGSTROM
    area[:, 0] = PROFILE_STEP_ANGSTROM**2 / 8
    kernel = kernel * area
    blurred: NDArray[np.float64] = kernel / kernel.sum(axis=1, keepdims=True)
    return blurred
