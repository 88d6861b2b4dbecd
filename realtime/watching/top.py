"""A server's status as a picture for the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from realtime.wire.messages import ServerStatus

#: Stages in the order in which a frame goes through them; others follow by name.
ORDER: Final = ("queue", "find", "cut", "calibrate", "infer", "decide", "analyze", "reply")
_MIB: Final = 1024 * 1024


def view(address: str, status: ServerStatus, before: ServerStatus | None) -> RenderableType:
    """Draw a status; with the one before, rates a second by the server's own clock too."""
    process = status.process
    head = Table.grid(padding=(0, 2))
    for name, value in {
        "server": f"{address}, up {_duration(status.uptime_s)}",
        "model": f"{status.model} ({status.model_sha256[:12]})",
        "engine": f"{status.engine.name}; {status.engine.reason}",
        "clients": f"{status.clients}, this view included; {status.queue_depth} frames wait",
        "process": f"{process.memory_bytes / _MIB:.0f} MiB, {process.threads} threads, {process.open_files} files, "
        f"{_processor(status, before)}",
    }.items():
        head.add_row(f"[dim]{name}[/]", escape(value))
    return Group(head, _stages(status), _counters(status, before))


def _stages(status: ServerStatus) -> Table:
    table = Table("stage", title="latency, ms", title_justify="left")
    for name in ("frames", "p50", "p95", "largest"):
        table.add_column(name, justify="right")
    known = [name for name in ORDER if name in status.stages]
    for name in (*known, *sorted(status.stages.keys() - set(known))):
        s = status.stages[name]
        table.add_row(escape(name), str(s.count), *(f"{v:.1f}" for v in (s.p50_ms, s.p95_ms, s.max_ms)))
    return table


def _counters(status: ServerStatus, before: ServerStatus | None) -> Table:
    table = Table("count", title_justify="left")
    table.add_column("", justify="right")
    seconds = 0.0 if before is None else status.uptime_s - before.uptime_s
    if before is not None:
        table.add_column("a second", justify="right")
    for name, count in status.counters.items():
        row = [escape(name.replace("_", " ")), str(count)]
        if before is not None:
            # A server that was started again counts from zero.
            rate = (count - before.counters.get(name, 0)) / seconds if seconds > 0 else 0.0
            row.append(f"{max(0.0, rate):.1f}")
        table.add_row(*row)
    return table


def _processor(status: ServerStatus, before: ServerStatus | None) -> str:
    if before is None or status.uptime_s <= before.uptime_s:
        return f"{status.process.cpu_s:.0f} s of processor time"
    used = (status.process.cpu_s - before.process.cpu_s) / (status.uptime_s - before.uptime_s)
    return f"{100 * used:.0f} % of a processor"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
