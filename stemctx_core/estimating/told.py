"""Offers in words: a table, the lines to use them by, and the JSON."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from stemctx_core.context import Known, Quantity
from stemctx_core.estimating.offers import LEVEL, Interval, Offers

#: Quantity to what is said of it: name, digits after the point.
_ROWS = {
    "pixel_size_angstrom": ("pixel size (Å)", 4),
    "ratio": ("X2/M", 3),
    "sigma_angstrom": ("effective source (Å)", 3),
    "dose_e_per_angstrom2": ("dose (e/Å²)", 0),
}


def table(found: Offers, title: str) -> Table:
    """What is offered beside what is declared."""
    shown = Table(title=title, title_justify="left")
    for name in ("quantity", "declared", "offered", f"{LEVEL:.0%} interval"):
        shown.add_column(name, justify="left" if name == "quantity" else "right")
    for field, (name, digits) in _ROWS.items():
        offer: Interval = getattr(found, field)
        declared = getattr(found.lattice.context, field, None)
        shown.add_row(
            name,
            _spoken(declared),
            f"{offer.value:.{digits}f}",
            f"{offer.low:.{digits}f} to {offer.high:.{digits}f}",
        )
    ridge = found.ridge
    for name, spans in (("inner", ridge.inner_intervals), ("outer", ridge.outer_intervals)):
        shown.add_row(
            f"{name} angle (mrad)",
            _spoken(getattr(found.lattice.context, f"{name}_mrad")),
            "cannot be told",
            _spans(spans),
        )
    return shown


def ridge_words(found: Offers) -> str:
    """The ridge in one line for each inner angle."""
    each = [(inner, found.ridge.outer_given(inner)) for inner in found.ridge.inner_mrad]
    kept = [f"{inner:g}: {_spans(spans)}" for inner, spans in each if spans]
    if not kept:
        return "No angles of the library give this ratio."
    return "Outer angles that fit, by inner angle (mrad): " + "; ".join(kept) + "."


def option_line(found: Offers) -> str:
    """Options of `stemctx analyze` with the offered values."""
    return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in offered(found).items())


def toml_lines(found: Offers) -> str:
    """The same as lines of a TOML file."""
    return "\n".join(f"{name} = {value:g}" for name, value in offered(found).items())


def offered(found: Offers) -> dict[str, float]:
    """Values that the analysis of a frame takes, rounded to what they are known to."""
    values = {"pixel_size_angstrom": round(found.pixel_size_angstrom.value, 4)}
    if found.angles_mrad is not None:
        values["inner_mrad"], values["outer_mrad"] = found.angles_mrad
    return values


def as_json(found: Offers) -> dict[str, Any]:
    """Everything that is offered, of types that JSON has."""
    intervals: dict[str, Any] = {
        field: {"value": o.value, "low": o.low, "high": o.high}
        for field in _ROWS
        for o in (getattr(found, field),)
    }
    ridge = found.ridge
    return {
        "level": LEVEL,
        "host": found.lattice.host.name,
        "columns": len(found.lattice.features),
        "rehearsals": found.rehearsals,
        **intervals,
        "angles_mrad": {
            "one_that_fits": found.angles_mrad,
            "inner": ridge.inner_intervals,
            "outer": ridge.outer_intervals,
            "outer_by_inner": {f"{inner:g}": ridge.outer_given(inner) for inner in ridge.inner_mrad},
        },
        "objections": found.objections,
        "offered": offered(found),
    }


def _spoken(quantity: Quantity | None) -> str:
    return f"{quantity.value:g} ({quantity.source.value})" if isinstance(quantity, Known) else "–"


def _spans(spans: tuple[tuple[float, float], ...]) -> str:
    return ", ".join(f"{a:g}" if a == b else f"{a:g} to {b:g}" for a, b in spans) or "none fits"
