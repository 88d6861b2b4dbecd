"""The flags on the screen: of the rows that the beam has passed, and of the pass before where it has not come yet.

While a frame is being scanned, the image is new above the beam and of the frame before below it, and so are the flags.
"""

from __future__ import annotations

from typing import NamedTuple

from nionswift_plugin.stemctx.service.shown import ShownRule, shown_sites
from stemctx_core.results import EDGE, FrameResult

#: A partial frame that is refused with less of its rows than this may yet be judged: so few show no lattice.
TOO_FEW_ROWS = 0.5


class ShownFlag(NamedTuple):
    """A flag on the screen.

    Attributes
    ----------
    result, site
        Where it stands.
    older
        Whether it is of the pass before.
    """

    result: FrameResult
    site: int
    older: bool = False


def is_whole(result: FrameResult) -> bool:
    """Whether the result is about all rows of its frame."""
    return result.frame.valid_rows >= result.frame.shape[0]


def shown_flags(result: FrameResult, before: FrameResult | None, rule: ShownRule) -> tuple[ShownFlag, ...]:
    """Every flag that a rule lets through, those of the newest rows first.

    Parameters
    ----------
    result
        Of the newest rows.
    before
        Of the whole frame before it in the same field, or None. Where the result is about a whole frame, nothing of
        what was before is left.
    """
    new = tuple(ShownFlag(result, int(i)) for i in shown_sites(result, rule))
    if before is None or is_whole(result):
        return new
    rows = judged_rows(result)
    old = (int(i) for i in shown_sites(before, rule))
    return (*new, *(ShownFlag(before, i, True) for i in old if before.sites.y_px[i] >= rows))


def whole_of(result: FrameResult, before: FrameResult | None) -> FrameResult:
    """The newest result about a whole frame, or about the rows that are there where there is none."""
    return result if before is None or is_whole(result) else before


def judged_rows(result: FrameResult) -> float:
    """Row up to which the sites of a result were judged; the last ones that came are too near to the beam for it."""
    cut = result.reasons.index(EDGE) if EDGE in result.reasons else -1
    judged = result.sites.y_px[result.sites.reason != cut]
    return float(judged.max()) + 1.0 if len(judged) else 0.0


def may_yet_be_judged(result: FrameResult) -> bool:
    """Whether a result is a refusal of too few rows, which says nothing of the frame."""
    rows, height = result.frame.valid_rows, result.frame.shape[0]
    return result.refusal is not None and rows < TOO_FEW_ROWS * height
