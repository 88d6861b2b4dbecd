"""A comparison in words: its tables, and what to change."""

from __future__ import annotations

from typing import Final

from stemctx_core.comparing.comparison import DISTANCES, Comparison
from stemctx_core.comparing.permutation import Distance
from stemctx_core.look import formats

#: Number of the summary: what it is, digits, and what of a simulation moves it.
SUMMARY: Final = {
    "ratio": ("X2/M", 3, "detector angles"),
    "sigma_angstrom": ("column width (Å)", 3, "effective source"),
    "dose_e_per_angstrom2": ("dose by the noise (e/Å²)", 0, "dose"),
    "level": ("background (columns)", 3, "haze, black level"),
    "amplitude": ("amplitude scatter", 3, "common-mode noise"),
    "fast_correlation": ("its correlation, fast axis", 2, "its reach along a line"),
    "slow_correlation": ("its correlation, slow axis", 2, "its reach across lines"),
    "pixel_correlation": ("correlation of pixels", 2, "amplifier"),
    "slow_sd": ("slow variation (columns)", 3, "contamination"),
    "jitter_angstrom": ("jitter of columns (Å)", 3, "jitter"),
    "defects": ("incomplete chalcogens", 3, "vacancies"),
}
#: Smallest share of deals that reach a distance by chance, from which frames are said to be alike.
ALIKE: Final = 0.05


def gap_rows(found: Comparison) -> list[tuple[str, str, str, str, str]]:
    """Name, distance before and its p, distance after and its p."""
    rows = []
    for name, words in DISTANCES.items():
        before: Distance = getattr(found.before, name)
        after: Distance | None = getattr(found.after, name) if found.after else None
        rows.append(
            (
                words,
                f"{before.beyond_chance:.3g}",
                _p(before),
                f"{after.beyond_chance:.3g}" if after else "–",
                _p(after) if after else "–",
            )
        )
    return rows


def summary_rows(found: Comparison) -> list[tuple[str, str, str, str, str]]:
    """Name, the number of each frame, and what moves it."""
    each = found.summaries
    rows = []
    for name, (words, digits, knob) in SUMMARY.items():
        values = [
            f"{getattr(each[k], name):.{digits}f}" if k in each else "–"
            for k in ("simulated", "measured", "fitted")
        ]
        rows.append((words, *values, knob))
    return rows  # type: ignore[return-value]


def change_words(found: Comparison) -> list[str]:
    """What to simulate with, one line each."""
    if found.fitted is None:
        return []
    k = found.fitted.knobs
    lines = [
        f"detector angles {k.inner_mrad:g}-{k.outer_mrad:g} mrad (one pair of many with this X2/M)",
        f"effective source {k.sigma_angstrom:.3f} Å, jitter of columns {k.jitter_angstrom:.3f} Å",
        f"dose {formats.dose(k.dose_e_per_angstrom2)}",
        f"haze or black level {k.haze:.2f} of the brighter column, contamination {k.contamination:.3f}",
        f"common-mode amplitude noise {k.amplitude_noise:.3f}, correlation {k.fast_correlation:.2f} along a line, "
        f"reach {k.slow_angstrom:.2f} Å across",
        f"correlation of neighbouring pixels {k.pixel_correlation:.2f}",
    ]
    if found.shares is not None:
        s = found.shares
        lines.append(
            f"amplitude noise as two detectors show it: common {s.common:.3f}, their own, counting noise included, {s.first:.3f} and "
            f"{s.second:.3f}"
        )
    return lines


def _p(distance: Distance) -> str:
    return f"{distance.p:.3f}" + (" alike" if distance.p >= ALIKE else "")
