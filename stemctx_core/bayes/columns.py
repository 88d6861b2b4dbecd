"""Compiled: what each column around a site sends to the detector at a vector of scores."""

from __future__ import annotations

import numpy as np

from stemctx_core.bayes.knowledge import SCORES
from stemctx_core.bayes.model import BACKGROUND, GAIN, MOVES, RATIO, SHIFT
from stemctx_core.kernels.compiled import compiled
from stemctx_core.simulation.render import REACH_ANGSTROM

#: Sums may be reordered, but infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "arcp", "nsz"}
#: Square of the distance (Å) that the last entry of a table is taken for.
FARTHEST = REACH_ANGSTROM * REACH_ANGSTROM - 1e-9
_FIRST, _SCORE_STEP, _LAST_CELL = float(SCORES[0]), float(SCORES[1] - SCORES[0]), len(SCORES) - 2


@compiled(fastmath=FAST, inline="always")
def mapped(values, score):  # type: ignore[no-untyped-def]
    """What a score stands for, and how fast it changes with the score."""
    place = (score - _FIRST) / _SCORE_STEP
    cell = min(max(int(place), 0), _LAST_CELL)
    step = values[cell + 1] - values[cell]
    share = min(max(place - cell, 0.0), 1.0)
    return values[cell] + share * step, step / _SCORE_STEP


@compiled(fastmath=FAST)
def fill_tables(site, sigma, kinds, table, slopes):  # type: ignore[no-untyped-def]
    """Lagrange interpolation over the nodes of σ, for the kinds that occur; with slopes, for those that could."""
    count = len(site.nodes)
    weight, change = np.ones(count), np.zeros(count)
    for m in range(count):
        for other in range(count):
            if other == m:
                continue
            term = 1.0 / (site.nodes[m] - site.nodes[other])
            for third in range(count):
                if third not in (m, other):
                    term *= (sigma - site.nodes[third]) / (site.nodes[m] - site.nodes[third])
            change[m] += term
            weight[m] *= (sigma - site.nodes[other]) / (site.nodes[m] - site.nodes[other])
    length = table.shape[1]
    needed = np.zeros(len(table), np.bool_)
    needed[site.hosts[0]] = needed[site.hosts[1]] = True
    for kind in kinds:
        needed[kind] = True
    if slopes:
        for kind in site.by:
            needed[kind] = True
    for c in range(len(table)):
        if not needed[c]:
            continue
        for i in range(length):
            value = 0.0
            for m in range(count):
                value += weight[m] * site.tables[m, c, i]
            table[c, i, 0] = value
        for i in range(length - 1):
            table[c, i, 1] = table[c, i + 1, 0] - table[c, i, 0]
        if slopes:
            for i in range(length):
                value = 0.0
                for m in range(count):
                    value += change[m] * site.tables[m, c, i]
                table[c, i, 2] = value
            for i in range(length - 1):
                table[c, i, 3] = table[c, i + 1, 2] - table[c, i, 2]


@compiled(fastmath=FAST)
def column_factor(site, z, column, kind, ratio):  # type: ignore[no-untyped-def]
    """Amplitude of a column times the error of its response times the ratio X2/M."""
    factor = ratio if site.chalcogen[kind] else 1.0
    moved = site.moved[column]
    if site.amplitude_from >= 0 and moved >= 0:
        factor *= max(1 + site.scales[2] * z[site.amplitude_from + moved], 0.05)
    score = site.response_score[kind]
    if score >= 0:
        factor *= max(1 + site.scales[3] * z[score], 0.05)
    return factor


@compiled(fastmath=FAST)
def column_place(site, z, column):  # type: ignore[no-untyped-def]
    """Where a column is (Å)."""
    y = site.positions[column, 0] + site.scales[0] * z[SHIFT]
    x = site.positions[column, 1] + site.scales[0] * z[SHIFT + 1]
    moved = site.moved[column]
    if moved >= 0:
        y += site.scales[1] * z[MOVES + 2 * moved]
        x += site.scales[1] * z[MOVES + 2 * moved + 1]
    return y, x


@compiled(fastmath=FAST)
def scale_of(site, patch, z, table):  # type: ignore[no-untyped-def]
    """Electrons for a unit of response; the ratio's factor; background in electrons."""
    gain, _ = mapped(site.maps[GAIN], z[GAIN])
    background, _ = mapped(site.maps[BACKGROUND], z[BACKGROUND])
    ratio, _ = mapped(site.maps[RATIO], z[RATIO])
    reference = max(table[site.hosts[0], 0, 0], ratio * table[site.hosts[1], 0, 0])
    return gain / (patch.quantum * reference), ratio, background * gain / patch.quantum
