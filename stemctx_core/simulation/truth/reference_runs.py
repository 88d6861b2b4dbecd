"""Running the reference on held-out supercells: one file a thermal configuration, so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from stemctx_core.simulation.finished import save_part
from stemctx_core.simulation.truth.held_out import HeldOutCell
from stemctx_core.simulation.truth.reference import POSITIONS_PER_SITE, site_positions, supercell_rings


def run_configuration(held_out: HeldOutCell, configuration: int, folder: Path) -> Path:
    """Compute one thermal configuration at every site and write it; nothing happens where it is there already."""
    path = folder / held_out.part_name(configuration)
    if path.exists():
        return path
    positions = site_positions(held_out.cell).reshape(-1, 2)
    rings = supercell_rings(
        held_out.cell.host, held_out.atoms(configuration), held_out.grid, positions, held_out.probe
    )
    save_part(path, rings.reshape(-1, POSITIONS_PER_SITE, rings.shape[-1]))
    return path


def run_all(
    cells: Sequence[HeldOutCell],
    configurations: int,
    folder: Path,
    workers: int,
    progress: Callable[[int, int, str], None],
) -> None:
    """Every configuration of every cell that is not in the folder yet, `HeldOutCell.configurations` of each.

    The first configuration of every cell comes before the second of any, so that a run cut short has seen all hosts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = max(cell.configurations(configurations) for cell in cells)
    jobs = [(cell, k) for k in range(most) for cell in cells if k < cell.configurations(configurations)]
    left = [(cell, k) for cell, k in jobs if not (folder / cell.part_name(k)).exists()]
    done = len(jobs) - len(left)
    if workers == 1:
        for cell, k in left:
            progress(done, len(jobs), f"{cell.name} {k}")
            run_configuration(cell, k, folder)
            done += 1
    elif left:
        with ProcessPoolExecutor(workers) as pool:
            running = {pool.submit(run_configuration, cell, k, folder): f"{cell.name} {k}" for cell, k in left}
            for finished in as_completed(running):
                finished.result()
                done += 1
                progress(done, len(jobs), running[finished])
    progress(len(jobs), len(jobs), "reference done")
