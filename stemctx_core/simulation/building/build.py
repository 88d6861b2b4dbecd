"""The response library built: what is not finished is run, then all is written to one file."""

from __future__ import annotations

from pathlib import Path

from stemctx_core.simulation.building.assemble import assemble
from stemctx_core.simulation.building.parts import Parts
from stemctx_core.simulation.building.plan import PAIR_DISPLACEMENTS_PX, BuildPlan, Job, Progress
from stemctx_core.simulation.finished import save_part
from stemctx_core.simulation.multislice import column_response
from stemctx_core.simulation.nodes import reduced_response


def build_library(
    plan: BuildPlan, output: Path, work_folder: Path, progress: Progress | None = None
) -> dict[str, object]:
    """Run what is not yet in the work folder, then write the library and its provenance.

    Parameters
    ----------
    plan
        Energies, columns and nodes.
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

    Raises
    ------
    LibraryError
        Where the work folder is of another grid, or something cannot be written.
    """
    parts = Parts(work_folder)
    for kv in plan.high_tensions_kv:
        parts.claim(plan.settings(kv))
    jobs = plan.jobs()
    for done, job in enumerate(jobs):
        if progress:
            progress(done, len(jobs), job.name)
        _run(job, plan, parts)
    if progress:
        progress(len(jobs), len(jobs), "writing")
    return assemble(plan, output, parts)


def _run(job: Job, plan: BuildPlan, parts: Parts) -> None:
    settings = plan.settings(job.high_tension_kv, job.refine)
    if job.node is None:
        path = parts.full(job.column, settings, job.refine)
        if not path.exists():
            save_part(path, column_response(job.column, PAIR_DISPLACEMENTS_PX, settings))
    else:
        path = parts.node(job.column, settings, job.node)
        if not path.exists():
            save_part(path, reduced_response(job.column, job.node, settings))
