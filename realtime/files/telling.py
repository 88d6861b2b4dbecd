"""What is said of files on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from realtime.files.densities import densities
from realtime.files.outcome import Outcome
from stemctx_core.calibration.frame_checks import PIXEL_SIZE_TOLD
from stemctx_core.context import Missing
from stemctx_core.results import Decision, FrameResult


def tell_refused(outcome: Outcome, console: Console) -> None:
    """Say why an image was not judged."""
    for note in outcome.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    refusal = outcome.result.refusal if outcome.result else None
    reason = refusal.reason if refusal else outcome.error
    console.print(f"[bold]{escape(outcome.label)} was not judged:[/] {escape(reason)}")
    if refusal:
        console.print(escape(refusal.fix))


def tell_one(outcome: Outcome, console: Console) -> None:
    """Say all of one image."""
    result = outcome.result
    assert result is not None
    table = Table("flag", "sites", "per cm², 95 %", title_justify="left")
    table.title = f"{outcome.label}: {len(result.sites)} sites"
    per_cm2 = {d.species: d for d in densities(result)}
    for species, count in result.flag_counts().items():
        density = per_cm2.get(species)
        spoken = (
            f"{density.per_cm2:.2g} ({density.low_per_cm2:.2g} to {density.high_per_cm2:.2g})"
            if density
            else ""
        )
        table.add_row(species, str(count), spoken)
    undecided = len(result.undecided())
    table.add_row("[dim]undecided[/]", str(undecided), "")
    border = len(result.where(Decision.ABSTAIN)) - undecided
    table.add_row("[dim]at the border, not judged[/]", str(border), "")
    console.print(table)
    calibration = result.calibration
    if calibration is not None:
        console.print(
            f"pixel {calibration.pixel_size_angstrom:.4f} Å by the lattice, dose {calibration.dose_e_per_angstrom2:.2g} "
            f"e/Å², X2/M {calibration.ratio_measured:.2f} (expected {calibration.ratio_expected:.2f})"
        )
    for told in [*outcome.notes, *result.warnings, *_pixel_size_words(result)]:
        console.print(f"[yellow]note:[/] {escape(told)}")
    reason = f" ({result.engine.reason})" if result.engine.reason else ""
    console.print(f"[dim]{escape(f'{result.model} on {result.engine.name}{reason}')}[/]")


def tell_of_many(outcome: Outcome, console: Console) -> None:
    """Say one image of many in a line, with what is to be known of it."""
    if not outcome.judged or outcome.result is None:
        tell_refused(outcome, console)
        return
    result = outcome.result
    flags = ", ".join(f"{n} {s}" for s, n in result.flag_counts().items()) or "no flags"
    console.print(
        escape(f"{outcome.label}: {len(result.sites)} sites, {flags}, {len(result.undecided())} undecided")
    )
    for note in (*outcome.notes, *result.warnings):
        console.print(f"  [yellow]note:[/] {escape(note)}")


def tell_total(judged: int, refused: int, written: Sequence[str], console: Console) -> None:
    """Say how many images were judged, and where the answers are."""
    not_judged = f", {refused} not" if refused else ""
    console.print(f"[bold]{judged} images judged{not_judged}[/]; wrote {escape(', '.join(written))}")


def _pixel_size_words(result: FrameResult) -> list[str]:
    """What the analysis does not say itself: where the pixel size came from, or why there was none."""
    pixel = result.context.pixel_size_angstrom
    if isinstance(pixel, Missing):
        return [
            f"Pixel size: {pixel.reason}. Give --pixel-size-angstrom to have it checked against the lattice."
        ]
    if result.calibration is None:
        return []
    off = result.calibration.pixel_size_angstrom / pixel.value - 1
    if abs(off) <= PIXEL_SIZE_TOLD:
        return []
    return [
        f"The pixel size of {pixel.value:.4f} Å came from the {pixel.source} ({pixel.detail}); check it there."
    ]
