"""`stemctx train`: a classifier from nothing but the response library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stemctx_core.errors import InputError
from stemctx_core.extras import need
from stemctx_core.training.config import QUICK, TrainingConfig, fields, read_config

_DEFAULTS = ", ".join(f"{k} = {str(v).lower()}" for k, v in fields(TrainingConfig()).items())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", epilog=f"Fields of the configuration, with their defaults: {_DEFAULTS}")(train)


def train(
    config: Annotated[
        Path | None, typer.Option(help="TOML file; what it leaves out has the defaults below.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the bundle to write.")] = Path("runs/model"),
    work_folder: Annotated[
        Path, typer.Option(help="Checkpoints, log and TensorBoard's events; a run that was killed goes on.")
    ] = Path("runs/training"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A small one in minutes, not the shipped one.")
    ] = False,
    patches: Annotated[
        int | None, typer.Option(min=1, help="Least number of patches, instead of the configuration's.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that render patches.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch on the CPU.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Of data and weights.")] = None,
    figures: Annotated[
        bool,
        typer.Option(
            help="Whether the 576 cases are evaluated and prediction sets fitted at the end, for the card."
        ),
    ] = True,
) -> None:
    """Train the candidate scorer on patches streamed from the renderer, and export it.

    Nothing is stored: patches of the 576 benchmark cases (and of continuous angles between them) are rendered while
    training runs. The result is a bundle that 'stemctx serve --bundle' and 'stemctx analyze --bundle' take, with the
    baselines of the paper's form in a folder of it. A GPU is used where there is one, several by
    torchrun --nproc-per-node=gpu --no-python stemctx train.

    stemctx train --quick --output runs/quick
    """
    need("Training", ("torch", "onnxscript", "tensorboard"), "training")
    if quick and config:
        raise InputError("--quick has a configuration of its own. Leave --quick or --config out.")
    plan = read_config(config) if config else QUICK if quick else TrainingConfig()
    changed = {k: v for k, v in (("patches", patches), ("seed", seed)) if v is not None}
    plan = msgspec.structs.replace(plan, **changed)

    import torch

    from stemctx_core.training.processes import joined_processes

    torch.set_num_threads(threads)
    with joined_processes() as processes:
        _run(plan, output, work_folder, workers, figures, processes)


def _run(
    plan: TrainingConfig, output: Path, work_folder: Path, workers: int, figures: bool, processes: Any
) -> None:
    from stemctx_core.training.loop import train as run

    console = Console(width=120, quiet=not processes.is_first)
    with Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        console=console,
    ) as bar:
        task = bar.add_task(f"training on {plan.patches / 1e6:.1f} M patches", loss=float("nan"))
        nets, mean, progress = run(
            plan,
            work_folder,
            workers,
            lambda done, steps: bar.update(task, total=steps, completed=done.step, loss=done.losses["scorer"]),
            processes,
        )
    if not processes.is_first:
        return
    _export(plan, output, figures, console, nets.cpu(), mean.cpu(), progress)


def _export(
    plan: TrainingConfig, output: Path, figures: bool, console: Console, nets: Any, mean: Any, progress: Any
) -> None:
    from stemctx_core.classifier.classifier import write_card
    from stemctx_core.evaluation.benchmark import run_benchmark, table
    from stemctx_core.training.bundles import write_baselines, write_bundle
    from stemctx_core.training.conformal_fit import fit_bundle
    from stemctx_core.training.stream import HELD_OUT, training_batch
    from stemctx_core.training.temperature import better_weights, fit_temperatures

    console.print("fitting the temperatures and exporting")
    batches = [training_batch(plan, HELD_OUT + k) for k in range(plan.held_out_batches)]
    nets, losses = better_weights(nets, mean, batches)
    temperatures = {name: fit_temperatures(nets, name, batches) for name in nets.names}
    scorer = temperatures.pop("scorer")
    said: dict[str, Any] = {"held_out_loss": losses["scorer"]}
    card = write_bundle(nets, plan, progress, output, "candidate_scorer", scorer, said)
    if nets.baselines:
        held_out = {"held_out_loss": {name: losses[name] for name in nets.baselines}}
        write_baselines(nets, plan, progress, output / "baselines", temperatures, held_out)
    if figures:
        small = plan.patches < 10_000_000
        rows = run_benchmark(output, patches_per_dose=2000 if small else 20000)
        said["benchmark"] = rows
        write_card(output, {**card, "figures": said})
        fit_bundle(output, scenes=200 if small else 3000)
        console.print(table(rows))
    console.print(f"{progress.patches} patches in {progress.seconds:.0f} s; bundle in {output}")
