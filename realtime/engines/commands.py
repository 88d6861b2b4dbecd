"""The commands `stemctx engine list`, `build` and `benchmark`."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from realtime.engines.options import BundleOption
from realtime.engines.select import EngineKind, Precision, precision_of
from stemctx_core.errors import InputError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="What runs the model: engines of this machine, their plans and their speed.\n\nstemctx engine list",
    )
    group.command("list")(list_engines)
    group.command()(build)
    group.command()(benchmark)
    app.add_typer(group, name="engine")


def list_engines(bundle: BundleOption = None, as_json: JsonOption = False) -> None:
    """Engines that are installed, whether each works here and why not, and the plans that are kept.

    An engine works if it ran the model and gave the same answers as ONNX Runtime on the CPU.

    stemctx engine list
    """
    # Imported here: no other command waits for them.
    from realtime.engines.inventory import working_engines
    from realtime.engines.plans import PlanCache, PlanCacheError, plans_folder
    from stemctx_core.classifier.classifier import load_bundle

    states, engines = working_engines(load_bundle(bundle).onnx_bytes)
    for engine in engines.values():
        engine.close()
    try:
        plans, refused = PlanCache().records() if plans_folder().exists() else [], ""
    except PlanCacheError as error:
        plans, refused = [], str(error)
    if as_json:
        _print_json(
            {"engines": states, "plans_folder": str(plans_folder()), "plans_refused": refused, "plans": plans}
        )
        return
    console = _console()
    table = Table(
        "engine", "--engine", "version", "works", "as what, or why not", title="Engines, the best first"
    )
    for state in states:
        table.add_row(
            state.title,
            state.engine,
            state.version or "none",
            "yes" if state.works else "no",
            escape(state.said),
        )
    console.print(table)
    if refused:
        console.print(f"[bold]Plans are not kept:[/] {escape(refused)}")
    elif plans:
        table = Table("key", "for", "by", "model", "kB", "built", title=f"Plans in {plans_folder()}")
        for plan in plans:
            name = plan.key.name[:12] + ("" if plan.key.content == "plan" else f" ({plan.key.content})")
            by = f"{plan.key.package} {plan.key.version}"
            size, built = f"{plan.size_bytes / 1000:.0f}", plan.built_utc[:16]
            table.add_row(name, escape(", ".join(plan.key.target)), by, plan.key.onnx_sha256[:12], size, built)
        console.print(table)
    else:
        console.print(f"No plans in {escape(str(plans_folder()))}.", highlight=False)


def build(
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--for", help="GPU to compile for, such as SM89; again for more. TensorRT-RTX only, no GPU needed."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(Precision)}; again for both.", show_default="both"),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="tensorrt or tensorrt_rtx.", show_default="the best that works for this"),
    ] = None,
    bundle: BundleOption = None,
) -> None:
    """Make plans now, so that the first start does not have to.

    For the GPU of this machine:

    stemctx engine build

    Ahead of time with TensorRT-RTX, on a machine with or without a GPU (RTX 30, 40 and 50 series):

    stemctx engine build --for SM86 --for SM89 --for SM120
    """
    # Imported here: no other command waits for them.
    from realtime.engines.making import make_plans

    wanted = tuple(precision_of(p) for p in precision or Precision)
    kind = None if engine is None else _gpu_kind(engine)
    console = _console()
    for made in make_plans(bundle, wanted, tuple(t.upper() for t in target or ()), kind):
        record = made.record
        console.print(
            f"{made.precision} for {escape(', '.join(record.key.target))}: {record.size_bytes / 1000:.0f} kB in "
            f"{made.seconds:.1f} s with {record.key.package} {record.key.version}, key {record.key.name[:12]}"
        )


def benchmark(
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Patches in a call; again for more.", show_default="1 64 256 1024"),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(Precision)}; again for both.", show_default="both")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threads of the CPU engine; again for more.", show_default="1 and all cores"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="For each figure.")] = 1.0,
    bundle: BundleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Patches a second of every engine that works here, beside ONNX Runtime with one thread.

    The patches are rendered ones of V in WSe2. "times one thread" compares with ONNX Runtime, float32, one thread,
    the same batch. The rate for each second of processor time is what a busy machine disturbs least.

    stemctx engine benchmark --batch 256 --batch 1024 --json
    """
    # Imported here: no other command waits for them.
    from realtime.engines.comparing import compare

    wanted = tuple(precision_of(p) for p in precision or Precision)
    cores = os.cpu_count() or 1
    report = compare(
        bundle, wanted, tuple(batch or (1, 64, 256, 1024)), tuple(threads or sorted({1, cores})), seconds
    )
    if as_json:
        _print_json(report)
        return
    console = _console()
    table = Table(
        "engine", "precision", "threads", "batch", "patches/s", "times one thread", "patches per CPU s"
    )
    for row in report.rows:
        t = row.timing
        table.add_row(
            escape(t.engine), row.precision, str(t.threads or "GPU"), str(t.batch), f"{t.patches_per_s:,.0f}",
            f"{row.times_one_thread:.2f}", f"{t.patches_per_cpu_s:,.0f}",
        )  # fmt: skip
    console.print(table)
    for state in report.engines:
        if not state.works:
            console.print(f"{state.title} was not timed: {escape(state.said)}.", highlight=False)


def _gpu_kind(name: str) -> EngineKind:
    if name not in (EngineKind.TENSORRT, EngineKind.TENSORRT_RTX):
        raise InputError(f"'{name}' makes no plans. Choose tensorrt or tensorrt_rtx.")
    return EngineKind(name)


def _print_json(content: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=1).decode())


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)
