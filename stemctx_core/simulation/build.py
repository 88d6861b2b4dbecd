"""Building the response library: every column at every energy, resumable, with a measured convergence figure."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stemctx_core.errors import LibraryError
from stemctx_core.simulation import columns
from stemctx_core.simulation.library import RINGS_NOT_MEASURED, write_library
from stemctx_core.simulation.multislice import (
    RING_MRAD,
    MultisliceSettings,
    column_response,
    probe_radii_angstrom,
    required_sampling_angstrom,
)

#: Lateral displacements of the atoms of a pair, in whole pixels of the simulation grid.
PAIR_DISPLACEMENTS_PX = (0, 1, 2, 3, 4, 5, 6, 8)
#: Columns recomputed on a finer grid for the convergence figure.
CONVERGENCE_COLUMNS = ("W", "Mo", "V", "Se")
#: Sides of the grid to choose from; only small prime factors. The first suffices up to 140 kV.
GRID_POINTS = (350, 400, 450, 500, 560, 640)


@dataclass(frozen=True)
class BuildPlan:
    """What to build.

    Attributes
    ----------
    high_tensions_kv
        Energies; one multislice run each.
    columns
        Column keys, see `stemctx_core.simulation.columns`.
    convergence_semi_angle_mrad
        One value for the whole library.
    """

    high_tensions_kv: tuple[float, ...] = (60.0, 80.0, 200.0)
    columns: tuple[str, ...] = field(default_factory=columns.standard_columns)
    convergence_semi_angle_mrad: float = 30.0

    def settings(self, high_tension_kv: float, refine: float = 1.0) -> MultisliceSettings:
        """Grid for an energy: fine enough for the outermost ring kept there."""
        outer = 250.0 if high_tension_kv < 150 else 235.0
        box = MultisliceSettings.box_angstrom
        needed = box / required_sampling_angstrom(high_tension_kv, outer)
        points = next(n for n in GRID_POINTS if n > needed)
        return MultisliceSettings(
            high_tension_kv=high_tension_kv,
            convergence_semi_angle_mrad=self.convergence_semi_angle_mrad,
            grid_points=int(round(points * refine / 10) * 10),
            outer_mrad=outer,
        )

    def jobs(self) -> list[tuple[float, str, float]]:
        """Energy, column and grid refinement of every run."""
        work = [(kv, column, 1.0) for kv in self.high_tensions_kv for column in self.columns]
        fine = [(kv, c, 1.6) for kv in self.high_tensions_kv for c in CONVERGENCE_COLUMNS if c in self.columns]
        return work + fine


def build_library(
    plan: BuildPlan, output: Path, work_folder: Path, progress: Callable[[int, int, str], None] | None = None
) -> dict[str, object]:
    """Run what is not yet in the work folder, then write the library and its provenance.

    A run that is killed is resumed: each column is one file, written under another name and then renamed.

    Parameters
    ----------
    plan
        Energies and columns.
    output
        The ``.npz`` to write; its provenance goes to the same name with ``.json``.
    work_folder
        Where finished columns are kept.
    progress
        Called with done, total and the name of the column that comes next.

    Returns
    -------
    dict
        The provenance.
    """
    work_folder.mkdir(parents=True, exist_ok=True)
    jobs = plan.jobs()
    for done, (kv, column, refine) in enumerate(jobs):
        if progress:
            progress(done, len(jobs), f"{column} {kv:g} kV")
        path = _part(work_folder, plan, kv, column, refine)
        if path.exists():
            continue
        settings = plan.settings(kv, refine)
        response = column_response(column, PAIR_DISPLACEMENTS_PX, settings)
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, response)
        os.replace(temporary, path)
    if progress:
        progress(len(jobs), len(jobs), "writing")
    return _assemble(plan, output, work_folder)


def _part(folder: Path, plan: BuildPlan, kv: float, column: str, refine: float) -> Path:
    return folder / f"{column}_{kv:g}kv_{plan.convergence_semi_angle_mrad:g}mrad_x{refine:g}.npy"


def _load(folder: Path, plan: BuildPlan, kv: float, column: str, refine: float = 1.0) -> np.ndarray:
    path = _part(folder, plan, kv, column, refine)
    try:
        response: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LibraryError(
            f"The finished column {path} cannot be read: {error}. Delete it and run again."
        ) from error
    return response


def _assemble(plan: BuildPlan, output: Path, folder: Path) -> dict[str, object]:
    outermost = max(plan.settings(kv).outer_mrad for kv in plan.high_tensions_kv)
    inner = plan.settings(plan.high_tensions_kv[0]).inner_mrad
    rings = round((outermost - inner) / RING_MRAD)
    radii = probe_radii_angstrom()
    singles = [c for c in plan.columns if not columns.is_pair(c)]
    pairs = [c for c in plan.columns if columns.is_pair(c)]

    def padded(response: np.ndarray) -> np.ndarray:
        missing = rings - response.shape[-1]
        return np.pad(response, [(0, 0), (0, 0), (0, missing)], constant_values=RINGS_NOT_MEASURED)

    single_table = np.zeros((len(plan.high_tensions_kv), len(singles), len(radii), rings), np.float32)
    pair_table = np.zeros(
        (len(plan.high_tensions_kv), len(pairs), len(PAIR_DISPLACEMENTS_PX), len(radii), rings), np.float32
    )
    for energy, kv in enumerate(plan.high_tensions_kv):
        for place, column in enumerate(singles):
            single_table[energy, place] = padded(_load(folder, plan, kv, column))[0]
        for place, column in enumerate(pairs):
            pair_table[energy, place] = padded(_load(folder, plan, kv, column))
    displacements = np.array(
        [
            [k * plan.settings(kv).sampling_angstrom for k in PAIR_DISPLACEMENTS_PX]
            for kv in plan.high_tensions_kv
        ]
    )
    provenance: dict[str, object] = {
        "what": "fraction of the beam scattered into 5 mrad rings, by column and distance of the probe from it",
        "high_tensions_kv": list(plan.high_tensions_kv),
        "convergence_semi_angle_mrad": plan.convergence_semi_angle_mrad,
        "singles": singles,
        "pairs": pairs,
        "ring_inner_mrad": inner,
        "ring_width_mrad": RING_MRAD,
        "ring_outer_mrad": {f"{kv:g}": plan.settings(kv).outer_mrad for kv in plan.high_tensions_kv},
        "sampling_angstrom": {f"{kv:g}": plan.settings(kv).sampling_angstrom for kv in plan.high_tensions_kv},
        "box_angstrom": plan.settings(plan.high_tensions_kv[0]).box_angstrom,
        "slices": "one an atomic plane",
        "thermal_rms_angstrom": columns.THERMAL_RMS_ANGSTROM,
        "chalcogen_separation_angstrom": columns.CHALCOGEN_SEPARATION_ANGSTROM,
        "versions": {name: importlib.metadata.version(name) for name in ("abtem", "ase", "numpy")},
        "convergence": _convergence(plan, folder),
    }
    write_library(
        output,
        {
            "radii_angstrom": radii,
            "singles": single_table,
            "pairs": pair_table,
            "pair_displacements_angstrom": displacements,
        },
        provenance,
    )
    return provenance


def _convergence(plan: BuildPlan, folder: Path) -> dict[str, object]:
    """Change of the peak in MAADF and HAADF when the grid is refined 1.6 times, in percent."""
    figures: dict[str, float] = {}
    checked: Sequence[str] = [c for c in CONVERGENCE_COLUMNS if c in plan.columns]
    for kv in plan.high_tensions_kv:
        inner = plan.settings(kv).inner_mrad
        for column in checked:
            coarse, fine = _load(folder, plan, kv, column)[0], _load(folder, plan, kv, column, 1.6)[0]
            for low, high in ((50, 120), (70, 200)):
                rings = slice(round((low - inner) / RING_MRAD), round((high - inner) / RING_MRAD))
                change = coarse[0, rings].sum() / fine[0, rings].sum() - 1
                figures[f"{column} {kv:g} kV {low}-{high} mrad"] = round(100 * float(change), 2)
    worst = max((abs(v) for v in figures.values()), default=None)
    return {"peak_change_percent_when_refined_1.6_times": figures, "worst_percent": worst}


def read_provenance(library: Path) -> dict[str, object]:
    """Provenance that stands beside a library file."""
    text: dict[str, object] = json.loads(library.with_suffix(".json").read_text())
    return text
