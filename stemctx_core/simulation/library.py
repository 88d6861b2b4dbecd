"""The response library at run time: what a detector sees of a column, for any ring of angles it holds.

A profile is the detected fraction of the beam as a function of the distance of the probe from the column. The
library holds columns at rest (pairs: for several displacements of their two atoms against each other); thermal
motion and the effective source are Gaussian blurs applied here. Other convergences, defocus and astigmatism are
differences from the probe in focus, interpolated between nodes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.answerable import (
    check_detector,
    check_probe,
    check_values,
)
from stemctx_core.simulation.held import HeldEnergy, thermal_base
from stemctx_core.simulation.interpolation import NodeGrid
from stemctx_core.simulation.nodes import Node
from stemctx_core.simulation.optics import Optics, ring_weights
from stemctx_core.simulation.radial import (
    FineRadii,
    blur,
)
from stemctx_core.simulation.storage import LibraryFile

#: A declared energy may differ from a held one by this share.
ENERGY_TOLERANCE: Final = 0.02


class ResponseLibrary:
    """Column responses read from a file.

    Parameters
    ----------
    path
        An ``.npz`` written by `write_library`, with its ``.json`` beside it.

    Raises
    ------
    LibraryError
        Where either file is missing, damaged, of another format, or does not match the other.
    """

    def __init__(self, path: Path) -> None:
        self._file = LibraryFile(path)
        self.sha256 = self._file.sha256
        self.provenance: dict[str, Any] = self._file.provenance
        self._lock = threading.RLock()
        self._energies: dict[float, HeldEnergy] = {}
        try:
            self.high_tensions_kv = tuple(float(v) for v in self.provenance["high_tensions_kv"])
            self.convergence_semi_angle_mrad = float(self.provenance["convergence_semi_angle_mrad"])
            self.columns = (*self.provenance["singles"], *self.provenance["pairs"])
            self._row = {column: i for i, column in enumerate(self.columns)}
            self._grids = {
                kv: NodeGrid(
                    self.convergence_semi_angle_mrad,
                    tuple(Node(*values) for values in self.provenance["nodes"].get(f"{kv:g}", [])),
                )
                for kv in self.high_tensions_kv
            }
            self._fine = FineRadii(self._file.array("radii_angstrom"))
            missing = [n for n in self._names() if n not in self._file]
            if missing:
                raise KeyError(missing[0])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._file.unreadable(error) from error
        self._motion = np.array([columns.motion_angstrom(c) for c in self.columns])

    def _names(self) -> list[str]:
        names = []
        for kv, grid in self._grids.items():
            names += [f"singles_{kv:g}", f"pairs_{kv:g}"]
            names += [f"nodes_{kv:g}", f"node_steps_{kv:g}"] if grid.round else []
            names += [f"astigmatic_{kv:g}", f"astigmatic_steps_{kv:g}"] if grid.astigmatic else []
        return names

    def grid(self, high_tension_kv: float) -> NodeGrid:
        """Convergences, defoci and astigmatisms held at an energy."""
        return self._grids[self._held(high_tension_kv)]

    def check(
        self,
        high_tension_kv: float | Optics,
        convergence_semi_angle_mrad: float = math.nan,
        inner_mrad: float = math.nan,
        outer_mrad: float = math.nan,
    ) -> None:
        """Raise `LibraryError` with the fix where the library cannot answer for these conditions.

        Takes an `Optics`, or the four values of a probe in focus.
        """
        if isinstance(high_tension_kv, Optics):
            optics = high_tension_kv
        else:
            optics = Optics(high_tension_kv, convergence_semi_angle_mrad, inner_mrad, outer_mrad, 0.0)
        check_values(optics)
        grid = self.grid(optics.high_tension_kv)
        check_probe(grid, optics, self._held(optics.high_tension_kv))
        check_detector(optics, self._inner, self.outer_limit_mrad(optics.high_tension_kv))

    @property
    def _inner(self) -> float:
        return float(self.provenance["ring_inner_mrad"])

    def outer_limit_mrad(self, high_tension_kv: float) -> float:
        """Outermost angle held at an energy (mrad)."""
        return float(self.provenance["ring_outer_mrad"][f"{self._nearest(high_tension_kv):g}"])

    def _nearest(self, high_tension_kv: float) -> float:
        return min(self.high_tensions_kv, key=lambda kv: abs(kv - high_tension_kv))

    def _held(self, high_tension_kv: float) -> float:
        nearest = self._nearest(high_tension_kv)
        if not abs(nearest - high_tension_kv) < ENERGY_TOLERANCE * abs(high_tension_kv):
            held = ", ".join(f"{kv:g}" for kv in self.high_tensions_kv)
            raise LibraryError(
                f"The response library holds {held} kV, not {high_tension_kv:g} kV. Build one with "
                f"'stemctx simulate library --high-tension-kv {high_tension_kv:g}'."
            )
        return nearest

    def ring_weights(self, inner_mrad: float, outer_mrad: float) -> NDArray[np.float64]:
        """(rings,) how much of each held ring a detector sees."""
        width = float(self.provenance["ring_width_mrad"])
        low = self._inner + width * np.arange(self._rings, dtype=np.float64)
        return ring_weights(low, width, inner_mrad, outer_mrad)

    @property
    def _rings(self) -> int:
        outermost = float(max(self.provenance["ring_outer_mrad"].values()))
        return round((outermost - self._inner) / float(self.provenance["ring_width_mrad"]))

    def profile(
        self, column: str, high_tension_kv: float, inner_mrad: float, outer_mrad: float, sigma_angstrom: float
    ) -> NDArray[np.float64]:
        """Response at the library's own convergence and in focus; see `response`."""
        convergence = self.convergence_semi_angle_mrad
        return self.response(
            column, Optics(high_tension_kv, convergence, inner_mrad, outer_mrad, sigma_angstrom)
        )

    def response(self, column: str, optics: Optics) -> NDArray[np.float64]:
        """Detected fraction of the beam at `PROFILE_RADII_ANGSTROM` from the column, over all directions.

        Parameters
        ----------
        column
            Key as in `stemctx_core.chemistry.columns`.
        optics
            Probe, detector and effective source; thermal motion is added to the source here.

        Returns
        -------
        numpy.ndarray
            (len(PROFILE_RADII_ANGSTROM),)

        Raises
        ------
        LibraryError
            Where the library cannot answer for these optics or the column.
        """
        self.check(optics)
        profile: NDArray[np.float64] = self.responses((column,), optics)[0]
        return profile

    def responses(self, keys: Sequence[str], optics: Optics) -> NDArray[np.float64]:
        """`response` of several columns at once, (columns, radii); the optics are not checked."""
        profiles, motion = self.at_rest(keys, optics)
        return blur(profiles, np.hypot(optics.sigma_angstrom, motion))

    def astigmatic(self, column: str, optics: Optics) -> NDArray[np.float64] | None:
        """The part f(r) of a response that turns with the astigmatism as cos 2(θ - azimuth).

        None where there is none: without astigmatism, or in focus, where only the fourfold part remains.
        """
        self.check(optics)
        turning = self.astigmatic_parts((column,), optics)
        return None if turning is None else turning[0]

    def astigmatic_parts(self, keys: Sequence[str], optics: Optics) -> NDArray[np.float64] | None:
        """`astigmatic` of several columns at once, (columns, radii); the optics are not checked."""
        if not optics.astigmatism_nm or not optics.defocus_nm:
            return None
        rows, vacant, weights, used = self._asked(keys, optics)
        turning = self._fine(self._energy(optics.high_tension_kv).turning(rows, used, weights, optics))
        turning[vacant] = 0
        return blur(turning, np.hypot(optics.sigma_angstrom, self._motion[rows]), order=2)

    def at_rest(self, keys: Sequence[str], optics: Optics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Profiles before Gaussian blurs, and the thermal motion of each column's centre (Å rms per axis)."""
        rows, vacant, weights, used = self._asked(keys, optics)
        seen = self._energy(optics.high_tension_kv).seen(rows, used, weights, optics)
        profiles = np.clip(self._fine(seen), 0, None)
        profiles[vacant] = 0
        return profiles, self._motion[rows]

    def rings_at_rest(
        self, column: str, high_tension_kv: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Distances of the probe (Å), displacements of a pair's atoms (Å), and (displacements, distances, rings)."""
        kv = self._held(high_tension_kv)
        radii = self._file.array("radii_angstrom")
        if columns.is_pair(column):
            stored = self._file.array(f"pairs_{kv:g}")[self.provenance["pairs"].index(column)]
            return radii, self._displacements(kv), stored.astype(np.float64)
        stored = self._file.array(f"singles_{kv:g}")[self.provenance["singles"].index(column)]
        return radii, np.zeros(1), stored[None].astype(np.float64)

    def mean_rings(self, column: str, high_tension_kv: float) -> NDArray[np.float64]:
        """(distances, rings) in focus, averaged over the thermal displacement of a pair's atoms."""
        mean: NDArray[np.float64] = self._energy(high_tension_kv).base[self._row[column]]
        return mean

    def _displacements(self, kv: float) -> NDArray[np.float64]:
        return np.array(self.provenance["pair_displacements_angstrom"][f"{kv:g}"])

    def _asked(
        self, keys: Sequence[str], optics: Optics
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.float64], slice]:
        """Rows of columns, which of them are vacant, weights of the rings that the detector sees, and those rings."""
        for column in keys:
            if column not in self._row and column != columns.VACANT:
                raise LibraryError(
                    f"The response library has no column '{column}'. Build one with "
                    f"'stemctx simulate library --column {column}'."
                )
        rows = np.array([self._row.get(c, 0) for c in keys], np.intp)
        vacant = np.array([c == columns.VACANT for c in keys])
        weights = self.ring_weights(optics.inner_mrad, optics.outer_mrad)
        seen = np.flatnonzero(weights > 0)
        used = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0)
        return rows, vacant, weights[used], used

    def _energy(self, high_tension_kv: float) -> HeldEnergy:
        kv = self._held(high_tension_kv)
        with self._lock:
            if kv not in self._energies:
                base = thermal_base(self._file, f"{kv:g}", self.provenance["pairs"], self._displacements(kv))
                self._energies[kv] = HeldEnergy(base, self._file, f"{kv:g}", self._grids[kv])
            return self._energies[kv]


@lru_cache(maxsize=1)
def shipped_library() -> ResponseLibrary:
    """The library that comes with the package."""
    return ResponseLibrary(Path(str(resources.files("stemctx_core") / "bundles" / "responses.npz")))
