"""The delta tier: what a column scatters in the lattice beyond what it scatters alone.

A correction is a difference of multislice runs of one static supercell, so that the choices of grid and box cancel:
of the perfect lattice against the sum of its columns, shared out to the two host columns, and of the lattice with a
defect against the perfect one, less the same difference of the columns alone. Corrections are averaged over
directions, damped as thermal motion damps interference, and kept ring by ring; a frame of this tier is the sum of
corrected columns.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns, elements, materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.optics import Optics, ring_weights
from stemctx_core.simulation.radial import PROFILE_RADII_ANGSTROM, blur
from stemctx_core.simulation.storage import LibraryFile
from stemctx_core.simulation.truth.supercells import host_column

#: Corrections are of one probe; those of another one within this distance are taken to be the same.
CONVERGENCE_TOLERANCE_MRAD: Final = 5.0
#: Rings from here outwards, 5 mrad each.
FIRST_RING_MRAD: Final = 35.0
#: Corrections end here (Å).
LAST_RADIUS_ANGSTROM: Final = 2.8


def key(sublattice: Sublattice, column: str) -> str:
    """Name of a correction: where the column stands and what it is."""
    return f"{sublattice.value}:{column}"


class DeltaLibrary:
    """In-lattice corrections read from a file.

    Parameters
    ----------
    path
        An ``.npz`` written by `delta_build.build_deltas`, with its ``.json`` beside it.
    library
        The columns that are corrected.

    Raises
    ------
    LibraryError
        Where either file is missing, damaged or does not match the other.
    """

    def __init__(self, path: Path, library: ResponseLibrary) -> None:
        self._file = LibraryFile(path)
        self.sha256 = self._file.sha256
        self.library = library
        provenance = self._file.provenance
        try:
            self.high_tensions_kv = tuple(float(kv) for kv in provenance["high_tensions_kv"])
            self.convergence_semi_angle_mrad = float(provenance["convergence_semi_angle_mrad"])
            self.keys = {name: tuple(listed) for name, listed in provenance["keys"].items()}
            self._radii = np.array(provenance["radii_angstrom"], float)
        except (KeyError, TypeError, ValueError) as error:
            raise self._file.unreadable(error) from error

    def for_host(self, host: Host | str) -> HostResponses:
        """Corrected columns of a host, usable wherever a `ResponseLibrary` is.

        Raises
        ------
        LibraryError
            Where the host is not one of those held.
        """
        name = host if isinstance(host, str) else host.name
        if name not in self.keys:
            raise LibraryError(
                f"The delta library holds {', '.join(self.keys)}, not {name}. Use the column library for it."
            )
        return HostResponses(self, materials.host(name))

    def correction(
        self, host: Host, sublattice: Sublattice, column: str, optics: Optics
    ) -> NDArray[np.float64]:
        """What is to be added to a column's response at rest, at `PROFILE_RADII_ANGSTROM`, fractions of the beam.

        That of the host's own column on the sublattice, and for a defect its own besides. A dopant that was not
        computed takes the value between its neighbours in Z; the host's metal, whose own is zero, is one of them.

        Raises
        ------
        LibraryError
            Where the energy or the convergence is not held.
        """
        kv = self._energy(optics)
        stored = self._file.array(f"{host.name}_{kv:g}")
        kept = self.keys[host.name]
        total = stored[kept.index(key(sublattice, host_column(host, sublattice)))].astype(float)
        if column != host_column(host, sublattice):
            total = total + self._defect(host, sublattice, column, stored)
        weights = ring_weights(
            FIRST_RING_MRAD + 5.0 * np.arange(total.shape[-1]), 5.0, optics.inner_mrad, optics.outer_mrad
        )
        values = np.append(total @ weights, 0.0)
        radii = np.append(self._radii, LAST_RADIUS_ANGSTROM)
        fine: NDArray[np.float64] = np.interp(PROFILE_RADII_ANGSTROM, radii, values, right=0.0)
        return fine

    def _defect(
        self, host: Host, sublattice: Sublattice, column: str, stored: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        kept = self.keys[host.name]
        name = key(sublattice, column)
        if name in kept:
            own: NDArray[np.float64] = stored[kept.index(name)].astype(float)
            return own
        if sublattice is not Sublattice.METAL or column not in columns.METALS:
            return np.zeros(stored.shape[1:])
        of = [k.partition(":")[2] for k in kept]
        rows = [
            i for i, k in enumerate(kept) if k.startswith(Sublattice.METAL.value) and of[i] in columns.METALS
        ]
        rows.sort(key=lambda i: elements.atomic_number(of[i]))
        numbers = [elements.atomic_number(of[i]) for i in rows]
        values = [np.zeros(stored.shape[1:]) if of[i] == host.metal else stored[i].astype(float) for i in rows]
        shares = [np.interp(elements.atomic_number(column), numbers, row) for row in np.eye(len(rows))]
        between: NDArray[np.float64] = np.tensordot(np.array(shares), np.stack(values), axes=1)
        return between

    def _energy(self, optics: Optics) -> float:
        nearest = min(self.high_tensions_kv, key=lambda kv: abs(kv - optics.high_tension_kv))
        if abs(nearest / optics.high_tension_kv - 1) > 0.02:
            held = ", ".join(f"{kv:g}" for kv in self.high_tensions_kv)
            raise LibraryError(
                f"The delta library holds {held} kV, not {optics.high_tension_kv:g} kV. Use the column library for it."
            )
        if (
            abs(optics.convergence_semi_angle_mrad - self.convergence_semi_angle_mrad)
            > CONVERGENCE_TOLERANCE_MRAD
        ):
            raise LibraryError(
                f"The delta library holds a convergence semi-angle of {self.convergence_semi_angle_mrad:g} mrad, "
                f"not {optics.convergence_semi_angle_mrad:g} mrad. Use the column library for it."
            )
        return nearest


class HostResponses(ResponseLibrary):
    """The columns of one host with their in-lattice corrections.

    A column key does not say where the column stands. Metals are taken to stand on the metal site, chalcogens on
    the chalcogen site, and an empty site, where there is nothing to correct but a little of the neighbours' own
    correction, gets none; `standing` tells them apart.
    """

    def __init__(self, deltas: DeltaLibrary, host: Host) -> None:
        self.__dict__.update(deltas.library.__dict__)
        self._deltas = deltas
        self._host = host

    def responses(self, keys: tuple[str, ...] | list[str], optics: Optics) -> NDArray[np.float64]:  # type: ignore[override]  # any sequence
        """See `ResponseLibrary.responses`."""
        plain = super().responses(keys, optics)
        return plain + self.corrections(keys, optics)

    def standing(self, sublattice: Sublattice, column: str, optics: Optics) -> NDArray[np.float64]:
        """Response of a column that stands on a sublattice, so that antisites are told from the host's own columns."""
        at_rest = self._deltas.correction(self._host, sublattice, column, optics)
        plain = super().responses((column,), optics)[0]
        blurred: NDArray[np.float64] = blur(
            at_rest[None], np.array([np.hypot(optics.sigma_angstrom, columns.motion_angstrom(column))])
        )[0]
        corrected: NDArray[np.float64] = plain + blurred
        return corrected

    def corrections(self, keys: tuple[str, ...] | list[str], optics: Optics) -> NDArray[np.float64]:
        """What `responses` adds, (columns, radii)."""
        total = np.zeros((len(keys), len(PROFILE_RADII_ANGSTROM)))
        motion = np.array([columns.motion_angstrom(k) for k in keys])
        for row, column in enumerate(keys):
            if column != columns.VACANT:
                sublattice = Sublattice.METAL if column in columns.METALS else Sublattice.CHALCOGEN
                total[row] = self._deltas.correction(self._host, sublattice, column, optics)
        return blur(total, np.hypot(optics.sigma_angstrom, motion))


@lru_cache(maxsize=1)
def shipped_deltas() -> DeltaLibrary:
    """The corrections that come with the package, over the column library that does."""
    return DeltaLibrary(
        Path(str(resources.files("stemctx_core") / "bundles" / "deltas.npz")), shipped_library()
    )
