"""The commands `stemctx survey run` and `stemctx survey benchmark`."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from nionswift_plugin.stemctx.needed import need
from stemctx_core.errors import InputError
from stemctx_core.look import formats
from stemctx_core.whole_files import write_whole

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.scripting.survey_microscope import SurveySettings
    from nionswift_plugin.stemctx.survey.scores import BenchmarkReport, PolicyScore
    from realtime.autonomy.policies.survey_file import SurveyFile
    from realtime.autonomy.session import Session
    from realtime.autonomy.views import SessionEvent

_INTERRUPTED = 130
_MODULES = ("nion.usim_device", "nion.device_kit")


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    survey = typer.Typer(
        no_args_is_help=True,
        help=(
            "Autonomous acquisition in the simulated microscope, within a dose budget.\n\n"
            "stemctx survey run survey.toml --dry-run"
        ),
    )
    survey.command()(run)
    survey.command()(benchmark)
    app.add_typer(survey, name="survey")


def run(
    file: Annotated[Path, typer.Argument(help="Survey file (TOML): tables microscope, limits and policy.")],
    output: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for session.h5, report.html and result.json.")
    ] = Path("runs/survey"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but expose the specimen.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the session.h5 in the folder; no exposure is repeated.")
    ] = False,
) -> None:
    """Run the policy of a survey file in the simulated microscope.

    stemctx survey run survey.toml --output runs/survey

    Every exposure and decision is recorded as it is made, so that a run that was cut off can be resumed.
    """
    from realtime.autonomy.policies.survey_file import read_survey_file

    asked = read_survey_file(file)
    need(*_MODULES, extra="simulator")
    # Nion's packages take a second to import, which a wrong file should not wait for.
    from nionswift_plugin.stemctx.scripting.opening import open_session
    from realtime.autonomy.limits import Stopped
    from realtime.autonomy.policies.dispatch import plain, run_policy
    from realtime.autonomy.report.page import write_report

    console = Console(highlight=False, soft_wrap=True)
    record = output / ("dry-run.h5" if dry_run else "session.h5")
    if dry_run and not resume:
        record.unlink(missing_ok=True)  # a rehearsal holds nothing that was exposed
    settings = _settings(asked)
    dopants = (settings.dopant,) if settings.dopant else ()
    said, ended = None, ""
    try:
        with open_session(
            settings.host, dopants, limits=asked.limits, record=record, resume=resume, dry_run=dry_run, settings=settings
        ) as session:  # fmt: skip
            Progress(session, console)
            said = plain(run_policy(session, asked.policy))
    except (KeyboardInterrupt, Stopped):
        ended = "stopped"
    report = output / ("dry-run.html" if dry_run else "report.html")
    write_report(record, report)
    if said is not None:
        _write_json(output / ("dry-run.json" if dry_run else "result.json"), said)
        for line in result_lines(said):
            console.print(line)
    console.print(f"{'stopped; ' if ended else ''}written to {output}{os.sep}")
    if ended:
        raise typer.Exit(_INTERRUPTED)


def benchmark(
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of specimens.")] = 5,
    area_nm: Annotated[float, typer.Option(min=5.0, max=100.0, help="Side of the surveyed square.")] = 35.0,
    drift_angstrom_per_s: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Drift of the specimen, for every second of beam time.")
    ] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Compare the confirming policy with an exhaustive, a random and an even one, on specimens that are known.

    stemctx survey benchmark --seeds 2 --json

    Five specimens take about four minutes: beam time is real time, also in the simulated microscope.
    """
    need(*_MODULES, extra="simulator")
    from nionswift_plugin.stemctx.survey.benchmark import run_benchmark

    console = Console(highlight=False, soft_wrap=True)

    def told(score: PolicyScore) -> None:
        if not as_json:
            console.print(_score_line(score))

    report = run_benchmark(seeds, area_nm, drift_angstrom_per_s, told)
    if as_json:
        typer.echo(json.dumps(report.summary(), indent=1))
        return
    for line in _benchmark_lines(report):
        console.print(line)


class Progress:
    """Prints a line an exposure: what it shows, and what the session has found and spent so far."""

    def __init__(self, session: Session, console: Console) -> None:
        self._session, self._console = session, console
        session.events.listen(self._hear)

    def _hear(self, event: SessionEvent) -> None:
        if event.kind in ("limit", "dry run", "stopped"):
            self._console.print(event.text)
        if event.kind not in ("exposure", "replayed") or event.view is None:
            return
        result, spent = event.view.result, self._session.spent
        if result.refusal is not None:
            shown = f"refused: {result.refusal.reason}"
        else:
            shown = "  ".join(f"{s} {n}" for s, n in result.flag_counts().items()) or "no flags"
        again = " (from the record)" if event.kind == "replayed" else ""
        self._console.print(
            f"{event.view.key}{again}  {shown}  | {spent.electrons:.3g} electrons in {spent.acquisitions} exposures, "
            f"at most {formats.dose(spent.max_dose_per_site)} on one place"
        )


def result_lines(said: dict[str, object]) -> list[str]:
    """What a policy found, in a few lines."""
    lines = []
    found = said.get("findings")
    if isinstance(found, list | tuple):
        counts = Counter(str(f["species"]) for f in found)
        names = ", ".join(f"{n} {s}" for s, n in counts.most_common()) or "nothing"
        lines.append(f"found {names} in the fields, which reach beyond the area")
    shares = said.get("fractions")
    for species, share in shares.items() if isinstance(shares, dict) else ():
        if share["count"]:
            lines.append(_fraction_line(species, share))
    if isinstance(share := said.get("fraction"), dict):
        lines.append(_fraction_line("it is frequent as", share))
    if isinstance(changes := said.get("changes"), list | tuple):
        lines += [
            f"{c['before']} became {c['after']} at ({c['y_nm']:.2f}, {c['x_nm']:.2f}) nm" for c in changes
        ]
    if isinstance(sightings := said.get("sightings"), list | tuple):
        lines.append(f"seen {len(sightings)} times")
    undecided = said.get("undecided")
    if isinstance(undecided, list | tuple) and undecided:
        lines.append(f"undecided {len(undecided)}")
    if said.get("refused"):
        lines.append(f"{said['refused']} fields could not be judged")
    if said.get("ended"):
        lines.append(f"ended: {said['ended']}")
    return lines


def _fraction_line(name: str, share: dict[str, float]) -> str:
    return (
        f"{name}: {share['count']} of {share['of']} sites of the area, {100 * share['low']:.3f} to {100 * share['high']:.3f} %, "
        f"{formats.density(share['per_cm2'])}"
    )


def _score_line(score: PolicyScore) -> str:
    def said(value: float | None) -> str:
        return "    -" if value is None else f"{value:.3f}"

    who = "all" if score.seed < 0 else f"seed {score.seed}"
    return (
        f"{score.policy:<11}{who:<8}recall {said(score.recall)}  precision {said(score.precision)}  "
        f"found {score.right:>3}  wrong {score.wrong:>2}  missed {score.missed:>3} (undecided {score.undecided})  "
        f"{score.electrons:.3g} electrons in {score.exposures} exposures"
    )


def _benchmark_lines(report: BenchmarkReport) -> list[str]:
    from nionswift_plugin.stemctx.survey.scores import POLICIES

    doses = report.doses
    lines = [
        f"WSe2 with V on {report.dopant_fraction:.1%} of the W sites, {report.area_nm:g} by {report.area_nm:g} nm, drift "
        f"{report.drift_angstrom_per_s:.1f} Å/s of beam time",
        f"planned: survey at {formats.dose(doses.survey)} (V_W from W), confirm at {formats.dose(doses.confirm)} (V_W from "
        f"{doses.rival})",
    ]
    for policy in POLICIES:
        lines.append(
            f"{_score_line(report.total(policy))}, {report.dose_share(policy):.1%} of the exhaustive dose"
        )
    lines.append(f"{report.seconds:.0f} s")
    return lines


def _settings(asked: SurveyFile) -> SurveySettings:
    from nionswift_plugin.stemctx.scripting.survey_microscope import SurveySettings

    column = asked.microscope
    known = {f.name for f in fields(SurveySettings)}
    values = {name: getattr(column, name) for name in column.__struct_fields__ if name in known}
    return SurveySettings(**{**values, "dopant": column.dopant or None})


def _write_json(path: Path, value: dict[str, object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(value, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}. Choose another --output.") from None
