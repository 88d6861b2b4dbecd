"""The commands `stemctx simulate dataset` and `stemctx simulate benchmark`."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stemctx_core.dataset.kinds import Imperfections, Kind, Sampling
from stemctx_core.errors import InputError
from stemctx_core.extras import need

if TYPE_CHECKING:
    from stemctx_core.dataset.recipe import DatasetRecipe

dataset = typer.Typer(invoke_without_command=True)

_FRAME_SHARD = 16


def register(simulate: typer.Typer) -> None:
    """Add the commands of this room below `stemctx simulate`."""
    simulate.add_typer(dataset, name="dataset")
    simulate.command()(benchmark)


@dataset.callback()
def write(
    ctx: typer.Context,
    output: Annotated[Path | None, typer.Option(help="Folder of the dataset; made if it is not there.")] = None,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Patches, or frames.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    frames: Annotated[bool, typer.Option("--frames", help="Whole labelled frames instead of patches.")] = False,
    sampling: Annotated[
        Sampling, typer.Option(help="How often each class is drawn; every sample records its weight.")
    ] = Sampling.BALANCED,
    power: Annotated[
        float, typer.Option(help="Of the prevalence, where sampling is tempered: 0 balanced, 1 prevalence.")
    ] = 0.5,
    host: Annotated[
        list[str] | None, typer.Option(help="Formula; give it again for more.", show_default="all six")
    ] = None,
    dopant: Annotated[
        list[str] | None,
        typer.Option(help="Element on the metal site; give it again for more.", show_default="16 a host"),
    ] = None,
    high_tension_kv: Annotated[
        list[float] | None, typer.Option(help="Energy; give it again for more.", show_default="60, 80, 200")
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(help="Inner and outer angle in mrad; again for more.", show_default="50-120, 70-200"),
    ] = None,
    convergence_mrad: Annotated[float, typer.Option(help="Convergence semi-angle.")] = 30.0,
    case: Annotated[
        list[int] | None,
        typer.Option(help="Number of a case among all combinations; again for more.", show_default="all"),
    ] = None,
    dose: Annotated[
        tuple[float, float], typer.Option(help="Lowest and highest dose (e/Å²), drawn over the logarithm.")
    ] = (8e2, 1.2e6),
    substitute: Annotated[
        list[str] | None, typer.Option(help="Chalcogen that may stand in for the host's; again for more.")
    ] = None,
    antisites: Annotated[bool, typer.Option("--antisites", help="Antisites too.")] = False,
    complexes: Annotated[
        bool, typer.Option("--complexes", help="Dopants with a vacancy beside them too.")
    ] = False,
    imperfections: Annotated[
        Imperfections, typer.Option(help="Of the microscope, for frames.")
    ] = Imperfections.TYPICAL,
    shard_size: Annotated[
        int | None, typer.Option(help="Samples a shard.", show_default="43,008 patches or 16 frames")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Response library.", show_default="the shipped one")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 for this one alone.")] = 2,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Address of a dask scheduler, tcp://…; one that you trust, since dask runs what it is sent."
        ),
    ] = None,
) -> None:
    """Write labelled patches or frames as zarr shards with one Parquet index over them.

    Stop it whenever you like: the same command goes on where it was. The bytes follow from the options, the
    response library and the versions of a few packages, not from the number of workers.

    Example, a million patches of doped WSe2 with classes as often as they are met in a crystal:

        stemctx simulate dataset --output wse2 --samples 1000000 --host WSe2 --sampling prevalence
    """
    if ctx.invoked_subcommand is not None:
        return
    need("A dataset", ("zarr", "pyarrow", "distributed"), "dataset")
    from stemctx_core.dataset.recipe import CaseChoice, DatasetRecipe

    if output is None:
        raise InputError("There is nowhere to write to. Give --output and a folder.")
    if workers < 0:
        raise InputError(f"{workers} workers cannot be. Give 0 for this process alone, or more.")
    kind = Kind.FRAMES if frames else Kind.PATCHES
    default = CaseChoice()
    choice = CaseChoice(
        hosts=tuple(host) if host else default.hosts,
        dopants=tuple(dopant or ()),
        high_tensions_kv=tuple(high_tension_kv) if high_tension_kv else default.high_tensions_kv,
        detectors_mrad=tuple(map(_angles, detector)) if detector else default.detectors_mrad,
        convergence_mrad=convergence_mrad,
        numbers=tuple(case or ()),
    )
    recipe = DatasetRecipe(
        kind=kind,
        samples=samples,
        seed=seed,
        choice=choice,
        dose_e_per_angstrom2=dose,
        sampling=sampling,
        power=power,
        substitutes=tuple(substitute or ()),
        antisites=antisites,
        complexes=complexes,
        imperfections=imperfections,
        samples_per_shard=shard_size or (_FRAME_SHARD if frames else DatasetRecipe().samples_per_shard),
    )
    _make(output, recipe, library, workers, scheduler)


def _make(
    output: Path, recipe: DatasetRecipe, library: Path | None, workers: int, scheduler: str | None
) -> None:
    from stemctx_core.dataset.distribute import cluster, make_shards, opened_library
    from stemctx_core.dataset.folder import missing_shards, prepare, write_index
    from stemctx_core.dataset.shards import configuration_here

    library_path = None if library is None else str(library.absolute())
    opened = opened_library(library_path)
    recipe.check(opened)
    configuration = configuration_here(recipe, opened)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(cluster(0, scheduler)) if scheduler else None
        prepare(output, configuration)
        missing = missing_shards(output, configuration)
        if client is None and workers and missing:
            client = stack.enter_context(cluster(min(workers, len(missing)), None))
        bar = stack.enter_context(_progress())
        task = bar.add_task("shards", total=recipe.shards, completed=recipe.shards - len(missing), rate="")
        done = 0
        try:
            for samples in make_shards(output, configuration, library_path, missing, client):
                done += samples
                rate = done / (bar.tasks[0].elapsed or 1.0)
                bar.update(task, advance=1, rate=f"{rate:,.0f} {recipe.kind.value}/s")
        except InputError:
            with contextlib.suppress(OSError):
                write_index(output, configuration)
            raise
    total = write_index(output, configuration)
    typer.echo(
        f"{output} holds {total:,} {recipe.kind.value} in {recipe.shards} shards; configuration {configuration.sha256}"
    )


def _progress() -> Progress:
    return Progress(
        TextColumn("shards"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


@dataset.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a dataset.")],
    repair: Annotated[bool, typer.Option("--repair", help="Make again what is not whole.")] = False,
    library: Annotated[
        Path | None, typer.Option(help="Response library, for --repair.", show_default="the shipped one")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes, for --repair; 0 for this one alone.")] = 0,
) -> None:
    """Read every byte of a dataset and name the shards that are missing or corrupt.

    stemctx simulate dataset verify wse2 --repair

    The exit code is 2 where one is and --repair is not given.
    """
    from stemctx_core.dataset.folder import discard, faults, read_configuration
    from stemctx_core.dataset.shards import shard_name

    configuration = read_configuration(folder)
    found = faults(folder, configuration)
    for number, fault in found.items():
        typer.echo(f"{shard_name(number)} {fault}")
    if found and not repair:
        raise InputError(
            f"{len(found)} of the {configuration.recipe.shards} shards in {folder} are not whole. Make them again with "
            "--repair."
        )
    if found:
        need("A dataset", ("zarr", "pyarrow", "distributed"), "dataset")
        for number in found:
            discard(folder, number)
        _make(folder, configuration.recipe, library, workers, None)
    typer.echo(f"All {configuration.recipe.shards} shards of {folder} are whole.")


def benchmark(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    seconds: Annotated[float, typer.Option(help="For each of the five measurements.")] = 10.0,
    workers: Annotated[int, typer.Option(help="Processes; one is measured too.")] = 2,
) -> None:
    """Measure how fast labelled sites are rendered, against a direct sum in NumPy.

    stemctx simulate benchmark --seconds 5 --json
    """
    from stemctx_core.dataset.benchmark import measure

    if not (seconds > 0 and workers >= 1):
        raise InputError("A benchmark needs some seconds and one worker or more. Give both above zero.")
    result = measure(seconds, workers)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    typer.echo(f"sites of whole frames   {result['sites_per_s']:12,.0f} /s with {workers} workers")
    typer.echo(f"patches                 {result['patches_per_s']:12,.0f} /s")
    typer.echo(f"55 million sites in     {result['seconds_for_55_million']:12,.0f} s")
    typer.echo(f"resident memory         {result['rss_mb']:12,.0f} MB")
    typer.echo(f"a direct sum in NumPy   {result['reference_patches_per_s']:12,.0f} patches/s, one process")
    typer.echo(f"load average            {result['load_average']:12.1f}")


def _angles(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"\s*([0-9.]+)\s*[-–:,]\s*([0-9.]+)\s*", text)
    try:
        return float(match[1]), float(match[2])  # type: ignore[index]
    except (TypeError, ValueError):
        raise InputError(
            f"'{text}' is not a detector. Write inner and outer angle in mrad, as in 70-200."
        ) from None
