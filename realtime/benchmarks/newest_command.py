"""The command `stemctx benchmark mailbox`."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def mailbox(
    frames_per_s: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames offered a second.")] = 30.0,
    takes_ms: Annotated[
        float, typer.Option(min=0, max=10_000, help="How long the server takes over a frame (ms).")
    ] = 80.0,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="For how long they are offered (s).")
    ] = 10.0,
    size: Annotated[int, typer.Option(min=8, max=4096, help="Pixels along each side of a frame.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Offer frames faster than a server takes them, and see how old the answers are and what became of each frame.

    A server process is started that judges nothing and takes the same time over every frame. Only the newest frame
    is sent, one at a time: answers stay about one frame and one period old, however many are offered. One that a
    hiccup of the machine makes older than 150 ms is dropped and counted, not handed over.

    stemctx benchmark mailbox --frames-per-s 30 --takes-ms 80
    """
    import msgspec

    from realtime.benchmarks.newest import MailboxPlan, measure

    plan = MailboxPlan(frames_per_s, seconds, takes_ms, size)
    figures = measure(plan)
    counters = msgspec.structs.asdict(figures.counters)
    ages = {name: figures.age_ms(q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}
    if as_json:
        said = dataclasses.asdict(figures) | {"counters": counters, "unaccounted": figures.unaccounted}
        typer.echo(json.dumps({"plan": msgspec.structs.asdict(plan), "age_ms": ages, **said}))
        return
    table = Table(
        "", "", title=f"{frames_per_s:g} frames/s to a server that takes {takes_ms:g} ms", title_justify="left",
        show_header=False,
    )  # fmt: skip
    for name in ("submitted", "answered", "replaced", "dropped", "errors"):
        table.add_row(name, str(counters[name]))
    table.add_row("unaccounted", str(figures.unaccounted))
    table.add_row(f"of the dropped, came after {plan.age_limit_ms:g} ms", str(counters["discarded"]))
    table.add_row(f"answers older than {plan.age_limit_ms:g} ms", str(counters["stale"]))
    table.add_row("age of the answers", ", ".join(f"{name} {value:.0f} ms" for name, value in ages.items()))
    table.add_row("most under way in the server", str(figures.most_under_way))
    table.add_row("most waiting in the server", str(figures.most_waiting))
    table.add_row("offering behind by", f"{figures.behind_ms:.0f} ms")
    Console(highlight=False).print(table)
