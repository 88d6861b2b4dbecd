"""The readable report of a record: one HTML file that needs nothing else, to be opened, mailed or printed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from realtime.autonomy.record_events import DecisionTaken, SessionEnded
from realtime.autonomy.record_reader import RecordedExposure, RecordReader, read_record
from realtime.autonomy.report_data import DecidedSite, Flag, ReportData, gather, pixel_of
from realtime.autonomy.report_figures import dose_png, map_png, piece_png
from realtime.autonomy.report_page import (
    Html,
    duration,
    join,
    page,
    picture,
    piece,
    power,
    table,
    tag,
    text,
    tile,
)
from stemctx_core.classes import Role
from stemctx_core.colours import ROLE_COLOURS
from stemctx_core.context import Known
from stemctx_core.pictures import ROLE_STYLE

#: A page stays one that a browser opens quickly; the record holds the rest.
MAX_PIECES: Final = 60
MAX_ROWS: Final = 1000
_PIECE_NM: Final = 2.0
_LONGEST_TEXT: Final = 400
_HOST_COLOUR: Final = ROLE_COLOURS[Role.METAL]
_UNDECIDED_COLOUR: Final = "#F0E442"


def write_report(record: Path, output: Path) -> None:
    """Write the report of a record; the file appears whole or not at all.

    Raises
    ------
    InputError
        A record that is not there, damaged, or still being written.
    """
    with read_record(record) as read:
        told = _report(read)
    temporary = output.with_name(output.name + ".part")
    temporary.write_text(told, encoding="utf-8")
    os.replace(temporary, output)


def _report(read: RecordReader) -> str:
    data = gather(read)
    title = "Autonomous acquisition" + (f" on {_material(data)}" if data.context else "")
    parts: list[Any] = [_header(read, data, title), _tiles(data), *_warnings(read, data)]
    if data.survey:
        parts += [_defects(read, data)]
    if data.exposures:
        parts += [_dose(data)]
    parts += [
        _sites(read, data),
        _flags(read, data),
        _decisions(read),
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
    policy = read.sessions[0].session.get("policy") if read.sessions else None
    subtitle = [tag("p", "Policy: ", tag("b", policy))] if isinstance(policy, str) else []
    return tag("header", tag("h1", title), *subtitle, tag("p", told, class_="soft"))


def _material(data: ReportData) -> str:
    context = data.context
    assert context is not None
    return context.host + (f" with {', '.join(context.dopants)}" if context.dopants else "")


def _tiles(data: ReportData) -> Html:
    spent = [
        tile(len(data.exposures), "", "exposures begun"),
        tile(power(data.electrons), "e⁻", "on the specimen"),
        tile(power(data.dose.largest), "e⁻/Å²", "on the place that got most"),
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
    told = [f"Limit reached: {name}. {message}" for name, message in data.limits]
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


def _defects(read: RecordReader, data: ReportData) -> Html:
    rows = []
    roles = {c.species: c.role for c in data.candidates}
    for species, share in sorted(data.densities.items(), key=lambda item: -item[1].count):
        low, high = (100 * v for v in (share.low, share.high))
        per_cm2 = share.per_cm2 / share.value if share.count else 0.0
        interval = f"{low:.2g} – {high:.2g}" if share.of else "–"
        rows.append(
            (
                Html(
                    f'<span class="dot" style="border-color:{_colour(roles[species])}"></span>{text(species)}'
                ),
                ROLE_STYLE[roles[species]][2] if roles[species] in ROLE_STYLE else "",
                share.count,
                share.of,
                f"{100 * share.value:.2g}" if share.of else "–",
                interval,
                power(share.per_cm2),
                Html(f"{power(share.low * per_cm2)} – {power(share.high * per_cm2)}") if share.count else "–",
            )
        )
    heads = (
        "species",
        "what",
        "flags>",
        "sites judged>",
        "share (%)>",
        "95 % interval (%)>",
        "density (cm⁻²)>",
        "95 % interval (cm⁻²)>",
    )
    frames = ((e.intended.request, read.frame(e.number).image) for e in data.survey)
    return tag(
        "section",
        tag("h2", "Defects found in the survey"),
        table(heads, rows),
        tag(
            "p",
            "Flags of the survey fields, each place counted in one field; sites cut by the border of a field are not "
            "counted. Shares are of the sites of the species' own sublattice, with Wilson score intervals. ",
            "Later looks at single sites do not change these counts.",
            class_="caption",
        ),
        tag("figure", picture(map_png(data, frames, len(data.survey)), "map of the flags"), class_="wide"),
        tag(
            "p",
            f"Map of {len(data.survey)} survey fields in scan coordinates, with the flags of the table.",
            class_="caption",
        ),
    )


def _dose(data: ReportData) -> Html:
    return tag(
        "section",
        tag("h2", "Dose"),
        tag("figure", picture(dose_png(data), "map of the dose"), class_="wide"),
        tag(
            "p",
            "Electrons per area as intended, all exposures that were begun together. The largest dose of one place is "
            "that of the raster of 0.5 nm on which the limit per site is held.",
            class_="caption",
        ),
    )


def _sites(read: RecordReader, data: ReportData) -> Html | None:
    if not data.sites:
        return None
    shown = data.sites[:MAX_PIECES]
    roles = {c.species: c.role for c in data.candidates}
    pieces = []
    for site in _by_exposure(shown):
        if site.exposure is None:
            continue
        request = site.exposure.intended.request
        image = read.frame(site.exposure.number).image
        png = piece_png(image, pixel_of(request, (site.y_nm, site.x_nm)), _PIECE_NM / request.pixel_nm)
        colour = _colour(roles.get(site.species))
        pieces.append(piece(png, colour, _site_caption(site), f"site {site.name}"))
    return tag(
        "section",
        tag("h2", "Sites decided one by one"),
        tag(
            "p",
            f"{len(pieces)} of {len(data.sites)}, each in the view of its last decision; {_PIECE_NM:g} nm wide.",
            class_="caption",
        ),
        tag("div", *pieces, class_="pieces"),
    )


def _site_caption(site: DecidedSite) -> Html:
    best = sorted(site.posterior.items(), key=lambda item: -item[1])[:2]
    sure = ", ".join(f"{species} {_probability(p)}" for species, p in best)
    times = f" · {site.decisions} decisions" if site.decisions > 1 else ""
    return join(
        (
            tag("b", site.action),
            tag("br"),
            sure,
            tag("br"),
            f"{site.rule} · ({site.y_nm:.2f}, {site.x_nm:.2f}) nm{times}",
        )
    )


def _flags(read: RecordReader, data: ReportData) -> Html | None:
    if not data.flags:
        return None
    shown = _chosen(data.flags)
    by_number = {e.number: e for e in data.survey}
    pieces = []
    number, image = 0, None
    for flag in sorted(shown, key=lambda f: f.exposure):
        if flag.exposure != number:
            number, image = flag.exposure, read.frame(flag.exposure).image
        assert image is not None
        request = by_number[number].intended.request
        png = piece_png(image, (flag.y_px, flag.x_px), _PIECE_NM / request.pixel_nm)
        caption = join(
            (tag("b", flag.species), f" {_probability(flag.probability)}", tag("br"),
             f"({flag.y_nm:.2f}, {flag.x_nm:.2f}) nm · exposure {number}")
        )  # fmt: skip
        pieces.append((flag, piece(png, _colour(flag.role), caption, f"{flag.species} in exposure {number}")))
    rank = {f: i for i, f in enumerate(shown)}
    return tag(
        "section",
        tag("h2", "Flags of the survey, close up"),
        tag(
            "p",
            f"{len(shown)} of {len(data.flags)}, by species and the surest first; {_PIECE_NM:g} nm wide, y, x in scan "
            "coordinates, with the probability of the species.",
            class_="caption",
        ),
        tag("div", *(p for _, p in sorted(pieces, key=lambda item: rank[item[0]])), class_="pieces"),
    )


def _chosen(flags: tuple[Flag, ...]) -> list[Flag]:
    """As many as fit, of every species a fair part, the surest first."""
    ranked: list[tuple[int, Flag]] = []
    counts: Counter[str] = Counter()
    for flag in sorted(flags, key=lambda f: -f.probability):
        ranked.append((counts[flag.species], flag))
        counts[flag.species] += 1
    kept = [f for _, f in sorted(ranked, key=lambda item: item[0])[:MAX_PIECES]]
    return sorted(kept, key=lambda f: (counts[f.species], f.species, -f.probability))


def _decisions(read: RecordReader) -> Html | None:
    decisions = read.decisions
    if not decisions:
        return None
    tally = Counter((d.rule, d.action) for d in decisions)
    rows = [
        (d.utc[11:19], d.rule, d.action, _evidence(d), d.exposures, power(d.electrons))
        for d in decisions[-MAX_ROWS:]
    ]  # fmt: skip
    left = len(decisions) - len(rows)
    return tag(
        "section",
        tag("h2", "Decisions"),
        table(("rule", "action", "times>"), [(r, a, n) for (r, a), n in tally.most_common(30)]),
        tag(
            "details",
            tag("summary", f"All {len(decisions)} decisions with their evidence" if not left else f"The last {len(rows)} of {len(decisions)} decisions with their evidence"),
            table(("UTC|", "rule|", "action", "evidence", "exposures>", "e⁻ so far>"), rows, small=True),
            **({"open": ""} if len(rows) <= 25 else {}),
        ),
    )  # fmt: skip


def _evidence(decision: DecisionTaken) -> str:
    told = "; ".join(f"{name}: {_short(value)}" for name, value in decision.evidence.items())
    return told if len(told) <= _LONGEST_TEXT else told[:_LONGEST_TEXT] + " …"


def _short(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        items = list(value.items())
        if items and all(isinstance(v, int | float) for _, v in items):
            items.sort(key=lambda item: -item[1])
        more = ", …" if len(items) > 3 else ""
        return "{" + ", ".join(f"{k} {_short(v)}" for k, v in items[:3]) + more + "}"
    if isinstance(value, list):
        return "(" + ", ".join(_short(v) for v in value[:4]) + (", …" if len(value) > 4 else "") + ")"
    return str(value)


def _exposures(data: ReportData) -> Html | None:
    if not data.exposures:
        return None
    rows = [_exposure_row(e) for e in data.exposures[-MAX_ROWS:]]
    left = len(data.exposures) - len(rows)
    told = (
        f"All {len(rows)} exposures" if not left else f"The last {len(rows)} of {len(data.exposures)} exposures"
    )
    heads = ("no.>", "key", "rule", "middle y, x (nm)|", "field (nm)>", "pixels|", "dose (e⁻/Å²)>", "outcome")
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
    for ending, unit in (("_kv", "kV"), ("_mrad", "mrad"), ("_e_per_angstrom2", "e⁻/Å²"), ("_angstrom", "Å")):
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " "), unit
    return name.replace("_", " "), ""


def _by_exposure(sites: tuple[DecidedSite, ...]) -> Iterator[DecidedSite]:
    """The found ones first, then in order of their place in the record."""
    order = {
        a: i for i, a in enumerate(dict.fromkeys(sorted((s.action for s in sites), key=lambda a: a != "found")))
    }
    yield from sorted(sites, key=lambda s: (order[s.action], s.exposure.number if s.exposure else 0))


def _colour(role: Role | None) -> str:
    return _UNDECIDED_COLOUR if role is None else ROLE_COLOURS.get(role, _HOST_COLOUR)


def _probability(value: float) -> str:
    return "> 0.999" if value > 0.9995 else f"{value:.3f}"
