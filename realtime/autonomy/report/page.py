"""The readable report of a record: one HTML file that needs nothing else, to be opened, mailed or printed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from realtime.autonomy.record.events import SessionEnded
from realtime.autonomy.record.reader import RecordedExposure, RecordReader, read_record
from realtime.autonomy.report import sections
from realtime.autonomy.report.data import ReportData, gather
from stemctx_core.context import Known
from stemctx_core.look.report_page import (
    Html,
    duration,
    page,
    power,
    table,
    tag,
    tile,
)
from stemctx_core.whole_files import write_whole

_SPOKEN: Final = {
    "convergence_semi_angle_mrad": "convergence semi-angle",
    "inner_mrad": "inner collection semi-angle",
    "outer_mrad": "outer collection semi-angle",
}


def write_report(record: Path, output: Path) -> None:
    """Write the report of a record; the file appears whole or not at all.

    Raises
    ------
    InputError
        A record that is not there, damaged, or still being written.
    """
    with read_record(record) as read:
        told = _report(read)
    write_whole(output, told)


def _report(read: RecordReader) -> str:
    data = gather(read)
    title = "Autonomous acquisition" + (f" on {_material(data)}" if data.context else "")
    parts: list[Any] = [_header(read, data, title), _tiles(data), *_warnings(read, data)]
    if data.survey:
        parts += [sections.defects(read, data)]
    if data.exposures:
        parts += [sections.dose(data)]
    parts += [
        sections.sites(read, data),
        sections.flags(read, data),
        sections.decisions(read),
        _exposures(data),
        _conditions(read, data),
    ]
    parts.append(
        tag(
            "footer",
            "Made by stemctx from ",
            tag("code", read.path.name),
            ", which holds every frame and posterior.",
        )
    )
    return page(title, [p for p in parts if p])


def _header(read: RecordReader, data: ReportData, title: str) -> Html:
    began = read.events[0].utc if read.events else ""
    resumed = len(read.sessions) - 1
    again = f", resumed {resumed} time{'s' if resumed > 1 else ''}" if resumed > 0 else ""
    told = f"{read.path.name} · begun {began[:19].replace('T', ' ')} UTC{again} · {duration(data.seconds)} from first to last entry"
    said = read.sessions[0].session if read.sessions else {}
    rules = dict.fromkeys([e.intended.rule for e in data.exposures] + [d.rule for d in read.decisions])
    words = [f"Rules: {', '.join(rules)}"] if rules else []
    words += [f"microscope: {said['microscope']}"] if isinstance(said.get("microscope"), str) else []
    words += ["dry run: nothing was exposed"] if said.get("dry_run") is True else []
    subtitle = [tag("p", " · ".join(words))] if words else []
    return tag("header", tag("h1", title), *subtitle, tag("p", told, class_="soft"))


def _material(data: ReportData) -> str:
    context = data.context
    assert context is not None
    return context.host + (f" with {', '.join(context.dopants)}" if context.dopants else "")


def _tiles(data: ReportData) -> Html:
    spent = [
        tile(len(data.exposures), "", "exposures begun"),
        tile(power(data.electrons), "electrons", "on the specimen"),
        tile(power(data.dose.largest), "e/Å²", "on the place that got most"),
    ]
    found = [
        tile(f"{data.judged_nm2:,.0f}".replace(",", "\u202f"), "nm²", "judged in the survey"),
        tile(len(data.flags), "", "defects flagged in the survey"),
        tile(data.undecided, "", "survey sites undecided"),
    ]
    if data.sites:
        actions = Counter(s.action for s in data.sites)
        most = ", ".join(f"{n} {a}" for a, n in actions.most_common(3))
        found.append(tile(len(data.sites), "", f"sites decided one by one: {most}"))
    return tag("div", *spent, *found, class_="tiles")


def _warnings(read: RecordReader, data: ReportData) -> list[Html]:
    told = [f"Limit reached. {message or name}" for name, message in data.limits]
    if data.unfinished:
        told.append(
            f"{data.unfinished} exposure{'s were' if data.unfinished > 1 else ' was'} begun and never finished. "
            "Counted as spent, and not repeated."
        )
    if data.refused:
        told.append(
            f"{data.refused} of {len(data.survey) + len(data.looks)} frames could not be judged; the table of exposures says why."
        )
    if data.other_fields:
        told.append(
            f"{data.other_fields} fields are of another material or with other dopants and not counted here."
        )
    if read.events and not isinstance(read.events[-1], SessionEnded):
        told.append(
            "The session did not close its record: its process was ended. Nothing that was written is missing."
        )
    return [tag("p", t, class_="told") for t in told]


def _exposures(data: ReportData) -> Html | None:
    if not data.exposures:
        return None
    rows = [_exposure_row(e) for e in data.exposures[-sections.MAX_ROWS :]]
    left = len(data.exposures) - len(rows)
    told = (
        f"All {len(rows)} exposures" if not left else f"The last {len(rows)} of {len(data.exposures)} exposures"
    )
    heads = ("no.>", "key", "rule", "middle y, x (nm)|", "field (nm)>", "pixels|", "dose (e/Å²)>", "outcome")
    return tag(
        "section", tag("h2", "Exposures"), tag("details", tag("summary", told), table(heads, rows, small=True))
    )


def _exposure_row(exposure: RecordedExposure) -> tuple[Any, ...]:
    intended, done, r = exposure.intended, exposure.done, exposure.intended.request
    if done is None:
        outcome = "begun, not finished"
    elif done.refusal:
        outcome = f"not judged: {done.refusal}"
    else:
        outcome = ", ".join(f"{n} {s}" for s, n in done.flags.items()) or "no flags"
    return (
        exposure.number, intended.key, intended.rule, f"{r.centre_nm[0]:.2f}, {r.centre_nm[1]:.2f}",
        f"{r.field_of_view_nm:g}", f"{r.shape[0]} × {r.shape[1]}", power(intended.dose_e_per_angstrom2), outcome,
    )  # fmt: skip


def _conditions(read: RecordReader, data: ReportData) -> Html:
    parts: list[Any] = [tag("h2", "Conditions")]
    if data.context is not None:
        rows: list[tuple[Any, ...]] = []
        for name, quantity in data.context.quantities():
            words, unit = _named(name)
            if isinstance(quantity, Known):
                source = quantity.source.value + (f" ({quantity.detail})" if quantity.detail else "")
                rows.append((words, power(quantity.value, 3), unit, source))
            else:
                rows.append((words, "not known", "", quantity.reason))
        parts.append(table(("quantity", "value>", "unit", "known from"), rows))
        parts.append(
            tag(
                "p",
                f"Channel {data.context.channel or 'not named'} of the last survey field counted. Judged by ",
                ", ".join(data.models) or "nothing",
                ".",
                class_="caption",
            )
        )
    for note in read.notes:
        parts.append(tag("p", f"{note.utc[11:19]} UTC, note: {note.text}"))
    told = [{"begun": s.utc, "session": s.session, "software": s.software} for s in read.sessions]
    parts.append(
        tag(
            "details", tag("summary", "What the session said of itself"), tag("pre", json.dumps(told, indent=2))
        )
    )
    return tag("section", *parts)


def _named(name: str) -> tuple[str, str]:
    for ending, unit in (("_kv", "kV"), ("_mrad", "mrad"), ("_e_per_angstrom2", "e/Å²"), ("_angstrom", "Å")):
        if name.endswith(ending):
            return _SPOKEN.get(name, name.removesuffix(ending).replace("_", " ")), unit
    return name.replace("_", " "), ""
