"""HTML of a report: its style, and the few pieces that it is put together from. Every text is escaped here."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from stemctx_core.look import formats

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --paper: #fff; --ground: #f6f8fa;
  --accent: #0072B2; --warn: #E69F00; --warned: #fff8e8; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #a3adb8; --line: #363d46; --paper: #14171b; --ground: #1d2126; --accent: #56B4E9;
    --warned: #2f2710; }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 28px 64px; }
header { border-bottom: 3px solid var(--accent); padding-bottom: 16px; margin-bottom: 24px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
sup { line-height: 0; font-size: 0.72em; }
h2 { font-size: 19px; margin: 44px 0 6px; overflow-wrap: anywhere; }
a { color: var(--accent); }
p { margin: 6px 0 12px; max-width: 78ch; overflow-wrap: break-word; }
img { max-width: 100%; height: auto; }
.soft, .caption { color: var(--soft); }
.caption { font-size: 13.5px; }
.up { font-size: 13.5px; font-weight: 400; margin-left: 10px; white-space: nowrap; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 12px; margin: 0 0 20px; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; background: var(--ground); }
.tile b { display: block; white-space: nowrap; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile b small { font-size: 14px; font-weight: 500; color: var(--soft); }
.tile span { font-size: 13px; color: var(--soft); }
.told { border-left: 4px solid var(--warn); background: var(--warned); padding: 8px 14px; margin: 8px 0; border-radius: 0 6px 6px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 8px 0 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 13px; color: var(--soft); border-bottom: 2px solid var(--line); }
th, td { padding: 6px 14px 6px 0; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; min-width: 7em; }
th.n, td.n { text-align: right; white-space: nowrap; min-width: 0; }
td.nw { white-space: nowrap; min-width: 0; }
.name { display: inline-block; min-width: 11em; }
.small td { font-size: 13px; }
.dot { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 7px; border: 3px solid; }
figure { margin: 10px 0; }
figure img { display: block; background: #fff; border-radius: 4px; }
figure.wide img { width: 100%; max-width: 940px; margin: 0 auto; }
.pieces { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 14px; margin: 10px 0 18px; }
.piece { margin: 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; background: var(--ground); }
.piece .view { position: relative; }
.piece img { width: 100%; aspect-ratio: 1; background: #000; border-radius: 0; }
.piece svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.piece figcaption { padding: 6px 9px 8px; font-size: 12.5px; line-height: 1.4; overflow-wrap: anywhere; }
.piece figcaption b { font-size: 14px; }
details { margin: 10px 0; }
summary { cursor: pointer; font-weight: 600; color: var(--accent); }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 6px; padding: 12px; overflow-x: auto; font-size: 12.5px; }
footer { margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--line); color: var(--soft); font-size: 13px; }
@media (max-width: 560px) {
  main { padding: 20px 16px 40px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tile b { font-size: 19px; white-space: normal; }
  .pieces { grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)); gap: 8px; }
  table, tbody, tr, td { display: block; }
  thead, td:empty { display: none; }
  tr { border-bottom: 1px solid var(--line); padding: 8px 0; }
  td, td.n, td.nw { border: 0; padding: 1px 0; text-align: left; white-space: normal; }
  td:first-child { font-weight: 600; }
  td:not(:first-child)[data-head]::before { content: attr(data-head) ": "; color: var(--soft); }
}
@media print { main { padding: 0; } .up { display: none; } .piece, .tile, figure, table tr { break-inside: avoid; } }
"""

#: No script, nothing from elsewhere: what a record holds can make a report neither act nor call home.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already."""


BREAK: Final = Html("<br>")


def text(value: Any) -> Html:
    """Escape what is not HTML yet."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[Any]) -> Html:
    """One after the other, escaped where needed."""
    return Html("\n".join(text(p) for p in parts))


def tag(name: str, *content: Any, **attributes: str) -> Html:
    """An element; a trailing underscore of an attribute is dropped."""
    told = "".join(f' {k.rstrip("_")}="{html.escape(v)}"' for k, v in attributes.items())
    return Html(f"<{name}{told}>{''.join(text(c) for c in content)}</{name}>")


def page(title: str, content: Iterable[Any]) -> str:
    """Put a whole page together."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{join(content)}\n</main>\n"
        "</body>\n</html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], small: bool = False) -> Html:
    """Lay out a table; a head that ends in ``>`` stands over numbers, one that ends in ``|`` over what is not broken.

    On a narrow screen every row is a list, each cell with its head before it.
    """
    names = [h.rstrip(">|") for h in heads]
    kinds = [{">": {"class_": "n"}, "|": {"class_": "nw"}}.get(h[-1:], {}) for h in heads]
    head = tag("tr", *(tag("th", name, **k) for name, k in zip(names, kinds, strict=True)))
    told = [k | ({"data-head": name} if name else {}) for name, k in zip(names, kinds, strict=True)]
    body = [tag("tr", *(tag("td", c, **k) for c, k in zip(row, told, strict=True))) for row in rows]
    whole = tag("table", tag("thead", head), tag("tbody", join(body)), **({"class_": "small"} if small else {}))
    return tag("div", whole, class_="scroll")


def tile(value: Any, unit: str, label: str) -> Html:
    """A number with its unit and what it is."""
    shown = tag("b", value, " ", tag("small", unit)) if unit else tag("b", value)
    return tag("div", shown, tag("span", label), class_="tile")


def picture(png: bytes, alt: str) -> Html:
    """An image that lies in the page itself."""
    data = base64.b64encode(png).decode("ascii")
    return Html(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">')


def piece(png: bytes, colour: str, caption: Html, alt: str) -> Html:
    """A small picture with a ring around its middle, and what it shows."""
    ring = Html(
        f'<svg viewBox="0 0 100 100" aria-hidden="true"><circle cx="50" cy="50" r="11" fill="none" '
        f'stroke="{html.escape(colour)}" stroke-width="2.2"/></svg>'
    )
    view = tag("div", picture(png, alt), ring, class_="view")
    return tag("figure", view, tag("figcaption", caption), class_="piece")


def power(value: float, digits: int = 2) -> Html:
    """A number with its power of ten, where it is large or small."""
    return Html(formats.number(value, digits))


def place(y_nm: float, x_nm: float) -> str:
    """A point in scan coordinates."""
    return f"({y_nm:.2f}, {x_nm:.2f}) nm".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
