"""The commands `stemctx simulate validate` and `stemctx simulate deltas`."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemctx_core.errors import InputError
from stemctx_core.look import formats
from stemctx_core.simulating.preparing import need_abtem, need_folder, need_npz, progress_bar
from stemctx_core.whole_files import write_whole

if TYPE_CHECKING:
    from stemctx_core.simulation.library import ResponseLibrary
    from stemctx_core.simulation.truth.delta import DeltaLibrary
    from stemctx_core.simulation.truth.held_out import HeldOutCell

_CONFIGURATIONS = 4
_QUICK_CONFIGURATIONS = 1
_PATCHES = 30_000


def register(simulate: typer.Typer) -> None:
    """Add the commands of validation to `stemctx simulate`."""
    simulate.command()(validate)
    simulate.command()(deltas)


def validate(
    output: Annotated[Path, typer.Option(help="Folder for validation.md, its pictures and validation.json.")],
    quick: Annotated[bool, typer.Option(help="One cell in one thermal configuration; no studies.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that run the reference.")] = 1,
    work_folder: Annotated[
        Path | None,
        typer.Option(help="Where finished parts are kept for resuming.", show_default="the output with .parts"),
    ] = None,
    configurations: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Thermal configurations a cell; two to six times as many where they differ most.",
            show_default="4",
        ),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            help="Column library to validate.", show_default="the shipped one, with the shipped deltas"
        ),
    ] = None,
    classifier: Annotated[
        bool, typer.Option(help="Whether to measure what columns cost the shipped classifier.")
    ] = True,
) -> None:
    """Validate the column and delta libraries against multislice of supercells that hold defects.

    Twelve cells, every host twice, every class of defect, HAADF and MAADF. A full run takes about half an hour on
    two cores; stop it whenever you like: the same command goes on where it was. Ends with exit status 1 where
    the column library misses its limits.

    Example:

        stemctx simulate validate --output docs/validation --work-folder work/reference
    """
    # Imported where they are used, here and below: no other command waits for them.
    from stemctx_core.classifier.classifier import load_bundle
    from stemctx_core.simulation.library import ResponseLibrary, shipped_library
    from stemctx_core.simulation.truth.delta import shipped_deltas
    from stemctx_core.simulation.truth.held_out import held_out_cells, small_cell
    from stemctx_core.simulation.truth.reference_runs import run_all
    from stemctx_core.validation.classifier_cost import classifier_cost
    from stemctx_core.validation.outcome import Validation
    from stemctx_core.validation.report import write

    need_abtem()
    parts = work_folder or output.with_suffix(".parts")
    for folder in (output, parts):
        need_folder(folder, "folder")
    columns = ResponseLibrary(library) if library else shipped_library()
    corrections = None if library else shipped_deltas()
    cells = (small_cell(),) if quick else held_out_cells()
    count = configurations or (_QUICK_CONFIGURATIONS if quick else _CONFIGURATIONS)
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        run_all(cells, count, parts, workers, progress)
        found = _compare_all(cells, count, parts, columns, corrections, progress)
        studies = {} if quick else _studies(parts, progress)
        costs = (
            classifier_cost(corrections, _PATCHES, progress) if classifier and corrections and not quick else []
        )
    result = Validation(
        *found,
        studies,
        costs,
        {
            "library_sha256": columns.sha256,
            "deltas_sha256": corrections.sha256 if corrections else None,
            "configurations": count,
            "model_sha256": load_bundle(None).sha256 if costs else None,
            "abtem": importlib.metadata.version("abtem"),
        },
        quick,
    )
    write(result, output)
    for s in result.summaries:
        typer.echo(
            f"{s.tier} {s.detector}: median {s.median_percent:.2f} %, largest {s.maximum_percent:.2f} % of the host "
            f"metal's signal at {s.sites} sites, worst {s.worst}"
        )
    for c in result.classifier:
        typer.echo(
            f"classifier at {formats.dose(c.dose_e_per_angstrom2)}, {c.patches} patches: {c.accuracy_columns:.4f} on columns, "
            f"{c.accuracy_deltas:.4f} on deltas, cost {c.cost_points:+.2f} ± {c.standard_error_points:.2f} points"
        )
    for row in studies.get("slices", []):
        typer.echo(
            f"projection: {row['column']}, {row['changed']}: HAADF {row['HAADF_percent']:+.1f} %, "
            f"MAADF {row['MAADF_percent']:+.1f} %"
        )
    typer.echo(f"Wrote {output / 'validation.md'}")
    for failure in result.failures():
        typer.echo(failure, err=True)
    if result.failures():
        raise typer.Exit(1)


def deltas(
    output: Annotated[Path, typer.Option(help="File to write, ending in .npz; its provenance joins it.")],
    work_folder: Annotated[
        Path | None,
        typer.Option(help="Where finished parts are kept for resuming.", show_default="the output with .parts"),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="Host; again for more.", show_default="all six")
    ] = None,
    high_tension_kv: Annotated[
        list[float] | None, typer.Option(help="Energy; again for more.", show_default="60, 80, 200")
    ] = None,
) -> None:
    """Build the delta library: what defects scatter in the lattice beyond what they scatter alone.

    Every single-column defect of every host at every energy, some ten minutes on two cores; resumes. What is
    simulated does not depend on the column library, so that corrections of another one are there at once.

    Example:

        stemctx simulate deltas --output deltas.npz --host WSe2 --high-tension-kv 80
    """
    from stemctx_core.chemistry import materials
    from stemctx_core.simulation.library import shipped_library
    from stemctx_core.simulation.truth.delta_build import build_deltas
    from stemctx_core.simulation.truth.delta_cells import DeltaPlan

    need_npz(output)
    default = DeltaPlan()
    for name in host or ():
        materials.host(name)
    plan = DeltaPlan(
        hosts=tuple(dict.fromkeys(host)) if host else default.hosts,
        high_tensions_kv=tuple(dict.fromkeys(high_tension_kv)) if high_tension_kv else default.high_tensions_kv,
    )
    for kv in plan.high_tensions_kv:
        if not 20 <= kv <= 400:
            raise InputError(f"A high tension of {kv:g} kV cannot be: expected 20 to 400. Is it in volts?")
    need_abtem()
    parts = work_folder or output.with_suffix(".parts")
    for folder in (output.parent, parts):
        need_folder(folder, "folder")
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)
        provenance = build_deltas(
            plan,
            shipped_library(),
            output,
            parts,
            lambda done, total, name: bar.update(task, completed=done, total=total, description=name),
        )
    typer.echo(f"Wrote {output} ({output.stat().st_size / 1e3:.0f} kB), sha256 {provenance['sha256']}")


def _compare_all(
    cells: tuple[HeldOutCell, ...],
    count: int,
    parts: Path,
    columns: ResponseLibrary,
    corrections: DeltaLibrary | None,
    progress: Callable[[int, int, str], None],
) -> tuple[list[Any], list[Any]]:
    from stemctx_core.validation.against_reference import compare

    errors, figures = [], []
    for done, cell in enumerate(cells):
        progress(done, len(cells), f"comparing {cell.name}")
        some, about = compare(cell, cell.configurations(count), parts, columns, corrections)
        errors += some
        figures += about
    return errors, figures


def _studies(parts: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """The studies do not depend on the libraries: they are run once for a version of the reference."""
    from stemctx_core.simulation.truth.reference import REFERENCE_VERSION
    from stemctx_core.simulation.truth.studies import all_studies

    path = parts / f"studies_v{REFERENCE_VERSION}.json"
    if path.exists():
        try:
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return kept
        except ValueError as error:
            raise InputError(
                f"The finished studies {path} cannot be read: {error}. Delete the file and run again."
            ) from error
    found = all_studies(lambda name: progress(0, 1, f"study: {name}"))
    write_whole(path, json.dumps(found))
    return found
