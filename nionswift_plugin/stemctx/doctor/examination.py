"""All checks at once, and whether live flagging would work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from nionswift_plugin.stemctx.doctor import (
    bundles,
    display,
    engines,
    installed,
    instrument,
    keeping,
    plug_ins,
    server,
)
from nionswift_plugin.stemctx.doctor.finding import Finding, Status, trouble
from stemctx_core.look import formats

Check = Callable[[], list[Finding]]
_AT_ONCE: Final = 3


def checks(address: str | None = None, port: int = server.PORT, folder: Path | None = None) -> dict[str, Check]:
    """Topic to check, in the order of the report.

    Parameters
    ----------
    address, port
        As `nionswift_plugin.stemctx.doctor.server.check` takes them.
    folder
        Where recordings would go.
    """
    return {
        installed.TOPIC: installed.check,
        plug_ins.TOPIC: plug_ins.check,
        engines.TOPIC: engines.check,
        bundles.TOPIC: bundles.check,
        instrument.TOPIC: instrument.check,
        display.TOPIC: display.check,
        server.TOPIC: lambda: server.check(address, port),
        keeping.KEYS: keeping.check_keys,
        keeping.PLANS: keeping.check_plans,
        keeping.LOOPS: keeping.check_loops,
        keeping.DISK: lambda: keeping.check_disk(folder),
    }


def examine(wanted: dict[str, Check] | None = None) -> list[Finding]:
    """Run checks, several at once; one that fails is a finding too.

    Parameters
    ----------
    wanted
        As `checks` gives them, all of them by default.
    """
    chosen = checks() if wanted is None else wanted
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stemctx-doctor") as pool:
        answers = pool.map(lambda item: _safely(*item), chosen.items())
        return [finding for findings in answers for finding in findings]


def works(findings: Iterable[Finding]) -> bool:
    """Whether live flagging would work, and safely."""
    return not any(f.status is Status.TROUBLE for f in findings)


def verdict(findings: list[Finding]) -> str:
    """The last line."""
    warnings = formats.count(sum(f.status is Status.WARNING for f in findings), "warning")
    if works(findings):
        return f"Live flagging would work here ({warnings})."
    troubles = formats.count(sum(f.status is Status.TROUBLE for f in findings), "trouble")
    return f"Live flagging would not work here, or not safely: {troubles} to be mended, {warnings}."


def in_words(findings: list[Finding]) -> str:
    """One line a finding, its fix below it."""
    lines = []
    for f in findings:
        lines.append(f"{f.status:<8} {f.topic}: {f.found}")
        if f.fix:
            lines.append(f"         fix: {f.fix}")
    return "\n".join([*lines, verdict(findings)])


def _safely(topic: str, check: Check) -> list[Finding]:
    try:
        return check()
    except ModuleNotFoundError as error:
        return [
            trouble(
                topic, f"the Python package '{error.name}' is not installed", 'Run: pip install "stemctx[all]"'
            )
        ]
    except Exception as error:
        said = f"could not be examined: {type(error).__name__}: {error}"
        return [trouble(topic, said, "Report this with the output of: stemctx doctor --json")]
