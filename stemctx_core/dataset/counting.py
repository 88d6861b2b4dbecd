"""Counting electrons inside compiled loops: a seeded generator and Poisson numbers, one stream a patch.

The generator is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); its one word of state is passed in and handed back, which
costs less in compiled code than an array does. Means below `TABLE_LIMIT` are counted with Walker's alias tables
(Electron. Lett. 10, 127, 1974); above it a normal deviate is rounded, then accepted or corrected by the method PD of
Ahrens and Dieter (ACM Trans. Math. Softw. 8, 163, 1982). Both are exact. Normal deviates are Marsaglia and Tsang's ziggurat
(J. Stat. Softw. 5(8), 2000). Nothing here depends on the number of threads, and no operation may be reordered, so
that a seed gives the same counts everywhere.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.kernels.compiled import compiled

#: Below this mean tables are used; PD holds from 10 upwards.
TABLE_LIMIT: Final = 10.0
#: Outcomes of a table; a mean below `TABLE_LIMIT` gives more with a probability below 1e-28.
_OUTCOMES: Final = 64
_TABLES_PER_UNIT: Final = 8

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_ONE: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_TWO: Final = np.uint64(0x94D049BB133111EB)
_S8, _S11, _S27, _S30, _S31 = (np.uint64(n) for n in (8, 11, 27, 30, 31))
_TO_UNIT: Final = 2.0**-53

_LAYERS: Final = 256
_LAYER_MASK: Final = np.uint64(_LAYERS - 1)
_OUTCOME_MASK: Final = np.uint64(_OUTCOMES - 1)
_ONE: Final = np.uint64(1)
#: Where the ziggurat's base layer ends, and the area of each of its 256 layers (Marsaglia and Tsang, 2000).
_TAIL_START: Final = 3.6541528853610088
_LAYER_AREA: Final = 0.00492867323399
_INVERSE_SQRT_TWO_PI: Final = 1.0 / math.sqrt(2.0 * math.pi)


def _ziggurat() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right edge of each layer, and the height of the density there; layer 0 is the base with the tail."""
    edges, heights = np.zeros(_LAYERS + 1), np.zeros(_LAYERS + 1)
    edges[1] = _TAIL_START
    heights[1] = math.exp(-(_TAIL_START**2) / 2)
    edges[0] = _LAYER_AREA / heights[1]
    for i in range(2, _LAYERS):
        heights[i] = heights[i - 1] + _LAYER_AREA / edges[i - 1]
        edges[i] = math.sqrt(-2 * math.log(heights[i]))
    heights[_LAYERS] = 1.0
    return edges, heights


def _alias_tables() -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Walker's alias tables of the Poisson distributions whose means are multiples of 1/`_TABLES_PER_UNIT`.

    Returns
    -------
    tuple of numpy.ndarray
        (means, outcomes) share of an entry that keeps its own outcome, and the outcome of the rest.
    """
    rows = int(TABLE_LIMIT * _TABLES_PER_UNIT)
    kept, alias = np.ones((rows, _OUTCOMES)), np.tile(np.arange(_OUTCOMES, dtype=np.uint8), (rows, 1))
    for row in range(rows):
        mean = row / _TABLES_PER_UNIT
        terms = [math.exp(-mean)]
        for k in range(1, _OUTCOMES):
            terms.append(terms[-1] * mean / k)
        share = np.array(terms) / math.fsum(terms) * _OUTCOMES
        poor, rich = (
            [k for k in range(_OUTCOMES) if share[k] < 1],
            [k for k in range(_OUTCOMES) if share[k] >= 1],
        )
        while poor and rich:
            needy, giver = poor.pop(), rich[-1]
            kept[row, needy], alias[row, needy] = share[needy], giver
            share[giver] -= 1 - share[needy]
            if share[giver] < 1:
                poor.append(rich.pop())
    return kept, alias


_EDGES, _HEIGHTS = _ziggurat()
_KEPT, _ALIAS = _alias_tables()
_FACTORIAL: Final = np.array([math.factorial(k) for k in range(10)], np.float64)


@compiled()
def mix(z):  # type: ignore[no-untyped-def]  # numba infers types
    """SplitMix64's scrambling of a word: every bit of it moves half the bits of the result."""
    z = (z ^ (z >> _S30)) * _MIX_ONE
    z = (z ^ (z >> _S27)) * _MIX_TWO
    return z ^ (z >> _S31)


@compiled()
def stream(seed, index):  # type: ignore[no-untyped-def]
    """State (uint64) at which stream `index` of a seed starts."""
    return mix(mix(np.uint64(seed)) + np.uint64(index) * _GOLDEN)


@compiled()
def uniform(state):  # type: ignore[no-untyped-def]
    """New state, and a uniform number on [0, 1) in steps of 2⁻⁵³."""
    state += _GOLDEN
    return state, np.float64(np.int64(mix(state) >> _S11)) * _TO_UNIT


@compiled()
def _exponential(state):  # type: ignore[no-untyped-def]
    state, share = uniform(state)
    return state, -math.log1p(-share)


@compiled()
def normal(state):  # type: ignore[no-untyped-def]
    """New state, and a standard normal deviate."""
    state += _GOLDEN
    bits = mix(state)
    layer = np.intp(bits & _LAYER_MASK)
    x = np.float64(np.int64(bits >> _S11)) * _TO_UNIT * _EDGES[layer]
    sign = 1.0 - 2.0 * np.float64(np.int64((bits >> _S8) & _ONE))
    if x < _EDGES[layer + 1]:
        return state, sign * x
    return _outside_layer(state, layer, x, sign)


@compiled()
def _outside_layer(state, layer, x, sign):  # type: ignore[no-untyped-def]
    """A deviate that the ziggurat's rectangles do not settle: the tail, the edge of a layer, or drawn anew."""
    while True:
        if layer == 0:
            while True:
                state, first = _exponential(state)
                state, second = _exponential(state)
                beyond = first / _TAIL_START
                if 2.0 * second > beyond * beyond:
                    return state, sign * (_TAIL_START + beyond)
        state, share = uniform(state)
        height = _HEIGHTS[layer] + share * (_HEIGHTS[layer + 1] - _HEIGHTS[layer])
        if height < math.exp(-0.5 * x * x):
            return state, sign * x
        state += _GOLDEN
        bits = mix(state)
        layer = np.intp(bits & _LAYER_MASK)
        x = np.float64(np.int64(bits >> _S11)) * _TO_UNIT * _EDGES[layer]
        sign = 1.0 - 2.0 * np.float64(np.int64((bits >> _S8) & _ONE))
        if x < _EDGES[layer + 1]:
            return state, sign * x


@compiled(error_model="numpy")
def poisson(state, mean):  # type: ignore[no-untyped-def]
    """New state, and a Poisson number of a mean (float64); zero where the mean is not above zero."""
    if mean >= TABLE_LIMIT:
        # Steps N, I and S of PD; both tests are taken at once, since a processor cannot guess either of them.
        state, deviate = normal(state)
        state, share = uniform(state)
        spread = math.sqrt(mean)
        count = np.floor(mean + spread * deviate)
        below = mean - count
        if (count >= 0.0) & ((below <= 1.1484) | (6.0 * mean * mean * share >= below * below * below)):
            return state, count
        return _corrected(state, mean, spread, count, share)
    if not mean > 0.0:
        return state, 0.0
    # The sum of two Poisson numbers is one of the sum of their means: a tabulated mean, and the little that is left.
    row = np.intp(mean * _TABLES_PER_UNIT)
    rest = mean - row / _TABLES_PER_UNIT
    state += _GOLDEN
    bits = mix(state)
    entry = np.intp(bits & _OUTCOME_MASK)
    share = np.float64(np.int64(bits >> _S11)) * _TO_UNIT
    count = np.float64(entry) if share < _KEPT[row, entry] else np.float64(_ALIAS[row, entry])
    state, share = uniform(state)
    if share < 1.0 - rest:
        return state, count
    term, more = math.exp(-rest), 0
    while share >= term and more < 16:
        share -= term
        more += 1
        term *= rest / more
    return state, count + more


@compiled(error_model="numpy")
def _corrected(state, mean, spread, count, share):  # type: ignore[no-untyped-def]
    """Steps P, Q, E and H of PD: the deviate is accepted by the exact quotient, or drawn anew from the difference."""
    b1 = 1.0 / (24.0 * mean)
    b2 = 0.3 * b1 * b1
    c3 = b1 * b2 / 7.0
    c2 = b2 - 15.0 * c3
    c1 = b1 - 6.0 * b2 + 45.0 * c3
    c0 = 1.0 - b1 + 3.0 * b2 - 15.0 * c3
    height = _INVERSE_SQRT_TWO_PI / spread
    if count >= 0.0:
        px, py, fx, fy = _densities(mean, spread, count, height, c0, c1, c2, c3)
        if fy - share * fy <= py * math.exp(px - fx):
            return state, count
    while True:
        state, far = _exponential(state)
        state, side = uniform(state)
        side = 2.0 * side - 1.0
        t = 1.8 + math.copysign(far, side)
        if t > -0.6744:
            count = np.floor(mean + spread * t)
            px, py, fx, fy = _densities(mean, spread, count, height, c0, c1, c2, c3)
            if 0.1069 / mean * abs(side) <= py * math.exp(px + far) - fy * math.exp(fx + far):
                return state, count


@compiled(error_model="numpy")
def _densities(mean, spread, count, height, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
    """Procedure F of PD: logarithms and factors of the Poisson probability and of the discrete normal's."""
    below = mean - count
    if count < 10.0:
        px, py = -mean, mean**count / _FACTORIAL[np.int64(count)]
    else:
        series = 1.0 / (12.0 * count)
        series -= 4.8 * series * series * series
        px = count * math.log1p(below / count) - below - series
        py = _INVERSE_SQRT_TWO_PI / math.sqrt(count)
    x = (0.5 - below) / spread
    x *= x
    return px, py, -0.5 * x, height * (((c3 * x + c2) * x + c1) * x + c0)
