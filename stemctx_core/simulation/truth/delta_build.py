"""Building the delta library: what is not in the work folder yet is simulated, then all is written to one file."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.materials import Host
from stemctx_core.simulation.finished import load_part, save_part
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.multislice import RING_MRAD
from stemctx_core.simulation.storage import write_library
from stemctx_core.simulation.truth.delta import FIRST_RING_MRAD
from stemctx_core.simulation.truth.delta_cells import (
    PAIR_DISPLACEMENT_ANGSTROM,
    RADII_ANGSTROM,
    DeltaPlan,
    lattice_rings,
)
from stemctx_core.simulation.truth.delta_corrections import host_corrections
from stemctx_core.simulation.truth.reference import REFERENCE_VERSION


def build_deltas(
    plan: DeltaPlan,
    library: ResponseLibrary,
    output: Path,
    work_folder: Path,
    progress: Callable[[int, int, str], None],
) -> dict[str, object]:
    """Simulate what is not in the work folder yet, then write the corrections of a column library.

    Each host at each energy is one part; parts do not depend on the column library. Returns the provenance.
    """
    work_folder.mkdir(parents=True, exist_ok=True)
    jobs = [(materials.host(name), kv) for name in plan.hosts for kv in plan.high_tensions_kv]
    arrays: dict[str, NDArray[np.generic]] = {}
    for done, (host, kv) in enumerate(jobs):
        progress(done, len(jobs), f"{host.name} {kv:g} kV")
        path = work_folder / _part_name(plan, host, kv)
        if not path.exists():
            save_part(path, lattice_rings(plan, host, kv))
        arrays[f"{host.name}_{kv:g}"] = host_corrections(plan, host, kv, load_part(path), library)
    progress(len(jobs), len(jobs), "writing")
    provenance: dict[str, object] = {
        "what": "fraction of the beam in 5 mrad rings that a column scatters in the lattice beyond what it does alone",
        "library_sha256": library.sha256,
        "high_tensions_kv": list(plan.high_tensions_kv),
        "convergence_semi_angle_mrad": plan.convergence_semi_angle_mrad,
        "keys": {name: plan.keys(materials.host(name)) for name in plan.hosts},
        "radii_angstrom": list(RADII_ANGSTROM),
        "first_ring_mrad": FIRST_RING_MRAD,
        "ring_width_mrad": RING_MRAD,
        "state": "pairs tilted by their thermal displacement, unlike ones both ways; one slice a plane of atoms; averaged "
        "over directions; damped by the Debye-Waller factor of the host's two atoms",
        "versions": {name: importlib.metadata.version(name) for name in ("abtem", "ase", "numpy")},
    }
    write_library(output, arrays, provenance)
    return provenance


def _part_name(plan: DeltaPlan, host: Host, kv: float) -> str:
    tilts = (PAIR_DISPLACEMENT_ANGSTROM, "unlike pairs both ways")
    what = repr((REFERENCE_VERSION, tilts, host, plan.keys(host), plan.probe(kv), RADII_ANGSTROM))
    return f"lattice_{host.name}_{kv:g}kv_{hashlib.sha256(what.encode()).hexdigest()[:10]}.npy"
