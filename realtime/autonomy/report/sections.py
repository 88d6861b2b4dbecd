"""The parts of a report that show what was found, what it cost and what was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from realtime.autonomy.record.events import DecisionTaken
from realtime.autonomy.record.reader import RecordReader
from realtime.autonomy.report.data import Flag, ReportData
from realtime.autonomy.report.decided import DecidedSite
from realtime.autonomy.report.figures import dose_png, map_png
from stemctx_core.chemistry.classes import Role
from stemctx_core.look.colours import ROLE_COLOURS, UNDECIDED
from stemctx_core.look.pictures import ROLE_STYLE
from stemctx_core.look.pieces import piece_png
from stemctx_core.look.report_page import BREAK, Html, join, picture, piece, place, power, table, tag, text

#: A page stays one that a browser opens quickly; the record holds the rest.
MAX_PIECES: Final = 60
MAX_ROWS: Final = 1000
_PIECE_NM: Final = 2.0
_LONGEST_TEXT: Final = 400
_HOST_COLOUR: Final = ROLE_COLOURS[Role.METAL]


def defects(read: RecordReader, data: ReportData) -> Html:
    """Counts, densities and the map of flags."""
    rows = []
    roles = {c.species: c.role for c in data.candidates}
    for species, share in sorted(data.densities.items(), key=lambda item: -item[1].count):
        low, high = (100 * v for v in (share.low, share.high))
        per_cm2 = data.sites_per_cm2
        interval = f"{_two(low)} – {_two(high)}" if share.of else "–"
        rows.append(
            (
                Html(
                    f'<span class="dot" style="border-color:{_colour(roles[species])}"></span>{text(species)}'
                ),
                ROLE_STYLE[roles[species]][2] if roles[species] in ROLE_STYLE else "",
                share.count,
                share.of,
                _two(100 * share.value) if share.of else "–",
                interval,
                power(share.per_cm2),
                Html(f"{power(share.low * per_cm2)} – {power(share.high * per_cm2)}") if share.of else "–",
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


def dose(data: ReportData) -> Html:
    """The map of dose."""
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


def sites(read: RecordReader, data: ReportData) -> Html | None:
    """Every site that was decided by itself, or nothing."""
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
        png = piece_png(image, request.to_px(site.y_nm, site.x_nm), _PIECE_NM / request.pixel_nm)
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
    lines = [f"{species} {_probability(p)}" for species, p in best]
    times = f", {site.decisions} decisions" if site.decisions > 1 else ""
    lines += [place(site.y_nm, site.x_nm), f"{site.rule}{times}"]
    return join((tag("b", site.action), *(part for line in lines for part in (BREAK, line))))


def flags(read: RecordReader, data: ReportData) -> Html | None:
    """Flags close up, or nothing."""
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
            (tag("b", flag.species), f" {_probability(flag.probability)}", BREAK,
             f"{place(flag.y_nm, flag.x_nm)}", BREAK, f"exposure {number}")
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


def decisions(read: RecordReader) -> Html | None:
    """Every decision with its evidence, or nothing."""
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
            table(("UTC|", "rule|", "action", "evidence", "exposures>", "electrons so far>"), rows, small=True),
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


def _by_exposure(sites: tuple[DecidedSite, ...]) -> Iterator[DecidedSite]:
    """The found ones first, then in order of their place in the record."""
    order = {
        a: i for i, a in enumerate(dict.fromkeys(sorted((s.action for s in sites), key=lambda a: a != "found")))
    }
    yield from sorted(sites, key=lambda s: (order[s.action], s.exposure.number if s.exposure else 0))


def _colour(role: Role | None) -> str:
    return UNDECIDED if role is None else ROLE_COLOURS.get(role, _HOST_COLOUR)


def _probability(value: float) -> str:
    if 0 < value < 0.0005:
        return "< 0.001"
    return "> 0.999" if value > 0.9995 else f"{value:.3f}"


def _two(value: float) -> str:
    """Two digits that count, zeros too."""
    return f"{value:#.2g}".rstrip(".") if value else "0"
