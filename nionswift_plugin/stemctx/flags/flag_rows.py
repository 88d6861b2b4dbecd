"""The rows of the list of flags: what each says, and in which order they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nionswift_plugin.stemctx.overlay.markers import label
from nionswift_plugin.stemctx.service.passes import ShownFlag, is_whole
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role, priors
from stemctx_core.chemistry.prevalence import Expected
from stemctx_core.look import formats
from stemctx_core.results import FrameResult

#: More are not read; the title says how many there are.
MOST_ROWS: Final = 500
_SAME_SITE: Final = 0.3


@dataclass(frozen=True, eq=False)
class FlagRow:
    """One flag of the list.

    Attributes
    ----------
    flag
        Where it stands.
    role, species, probability, entropy_nats
        What was found.
    usual_probability
        What the probability would be by the usual rates, where others are expected; else the same.
    y_px, x_px
        Array index in the frame.
    dose_e_per_angstrom2
        What the site has been exposed to in this field so far; NaN where the frame does not tell its dose.
    """

    flag: ShownFlag
    role: Role
    species: str
    probability: float
    usual_probability: float
    entropy_nats: float
    y_px: float
    x_px: float
    dose_e_per_angstrom2: float

    def text(self, mark: str = "") -> str:
        """The row in words; a mark says what the operator judged."""
        result, site, older = self.flag
        usual = formats.probability(self.usual_probability)
        parts = (
            f"{mark} {label(result, site)}".strip(),
            *([f"({usual} by usual rates)"] if usual != formats.probability(self.probability) else []),
            f"H {formats.entropy(self.entropy_nats)}",
            f"y {self.y_px:.1f} x {self.x_px:.1f}",
            formats.dose(self.dose_e_per_angstrom2),
            *(("older",) if older else ()),
        )
        return "  ".join(parts)

    def is_at(self, y_px: float, x_px: float, within: float = _SAME_SITE) -> bool:
        """Whether it is of the site at a place, which drift moves by a part of the lattice constant."""
        calibration = self.flag.result.calibration
        host = materials.host(self.flag.result.context.host)
        near = within * host.a_angstrom / calibration.pixel_size_angstrom if calibration else 2.0
        return math.hypot(self.y_px - y_px, self.x_px - x_px) < near


#: Digits that a row shows of probability and entropy. What they do not tell apart keeps the order of its place: rows
#: must not change places with every frame, or nobody could click one.
_DIGITS: Final = 2
#: Names of the orders, and what is compared before the place; the first is the one to begin with.
ORDERS: Final[dict[str, Callable[[FlagRow], Any]]] = {
    "Probability": lambda row: -round(row.probability, _DIGITS),
    "Class": lambda row: (list(Role).index(row.role), row.species, -round(row.probability, _DIGITS)),
    "Entropy": lambda row: round(row.entropy_nats, _DIGITS),
    "Position": lambda row: (),
    "Dose": lambda row: -row.dose_e_per_angstrom2 if row.dose_e_per_angstrom2 >= 0 else 0.0,
}


def rows_of(flags: Sequence[ShownFlag], passes: int) -> list[FlagRow]:
    """One row a flag.

    Parameters
    ----------
    passes
        How often the beam has passed the newest of their frames, see `FrameOrigin.passes`.
    """
    results = {id(f.result): f.result for f in flags}
    tables = {key: (r.sites.probability, _usual(r), r.sites.entropy_nats) for key, r in results.items()}
    return [_row(flag, passes, *(column[flag.site] for column in tables[id(flag.result)])) for flag in flags]


def in_order(rows: Sequence[FlagRow], order: str, backwards: bool = False) -> list[FlagRow]:
    """Sorted by one of `ORDERS`, and by place."""
    return sorted(rows, key=lambda row: (ORDERS[order](row), row.y_px, row.x_px), reverse=backwards)


def title_of(result: FrameResult | None, rows: Sequence[FlagRow], hidden: int) -> str:
    """How many flags there are, by species, and what is not in the list."""
    if result is None:
        return "No flags"
    names = [row.species for row in rows]
    counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
    said = f"{formats.count(len(rows), 'flag')}: {counts}" if rows else "No flags"
    unsure = len(result.undecided())
    more = (
        f"{unsure} undecided" if unsure else "",
        f"{hidden} not shown" if hidden else "",
        "" if is_whole(result) else f"row {result.frame.valid_rows} of {result.frame.shape[0]}",
        f"only {MOST_ROWS} in the list" if len(rows) > MOST_ROWS else "",
    )
    return "; ".join([said, *(part for part in more if part)])


def _row(flag: ShownFlag, passes: int, probability: float, usual: float, entropy_nats: float) -> FlagRow:
    result, site = flag.result, flag.site
    return FlagRow(
        flag=flag,
        role=result.role(site),
        species=result.species(site),
        probability=float(probability),
        usual_probability=float(usual),
        entropy_nats=float(entropy_nats),
        y_px=float(result.sites.y_px[site]),
        x_px=float(result.sites.x_px[site]),
        dose_e_per_angstrom2=_dose(result) * (passes - flag.older),
    )


def _usual(result: FrameResult) -> NDArray[np.floating[Any]]:
    """(n,) probability of what is named at each site by the usual rates."""
    if result.context.expected == Expected():
        return result.sites.probability
    return result.probability_with(priors(result.candidates))


def _dose(result: FrameResult) -> float:
    return result.calibration.dose_e_per_angstrom2 if result.calibration is not None else math.nan
