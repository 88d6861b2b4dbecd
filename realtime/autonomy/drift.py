"""Where things lie now that were seen earlier: the drift of the specimen from registered frames."""

from __future__ import annotations

import bisect
import math
from typing import Final

import msgspec
import numpy as np

from realtime.autonomy.microscope import Pair

#: What a stage may drift before anything is known of it.
UNKNOWN_NM_PER_S: Final = 0.05
#: Standard deviation of a velocity that was measured: at least this, and this part of it.
_STEADY_NM_PER_S: Final = 0.002
_CHANGES: Final = 0.3
#: A shift of the beam or the stage lands this part of its length off.
SHIFT_ERROR: Final = 0.05
_RECENT: Final = 5
_RECENT_NS: Final = int(120e9)


class _Knot(msgspec.Struct, frozen=True):
    """Where the specimen stood at a time, against the first knot."""

    at_ns: int
    y_nm: float
    x_nm: float
    error_nm: float


class DriftModel:
    """Where the specimen stands, from registrations; between them straight, after them by the recent velocity."""

    def __init__(self) -> None:
        self._knots: list[_Knot] = []
        self._jumps: list[tuple[int, float]] = []

    @property
    def velocity_nm_per_s(self) -> Pair:
        """y, x; (0, 0) before anything is known."""
        return self._velocity()[0]

    def add(self, shift_nm: Pair, from_ns: int, to_ns: int, error_nm: float) -> None:
        """Take a sure registration between two times, in any order."""
        if from_ns > to_ns:
            from_ns, to_ns, shift_nm = to_ns, from_ns, (-shift_nm[0], -shift_nm[1])
        if not self._knots:
            self._knots.append(_Knot(from_ns, 0.0, 0.0, 0.0))
        y, x = self._stands(from_ns)
        error = math.hypot(error_nm, self._lag_error_nm(from_ns))
        knot = _Knot(to_ns, y + shift_nm[0], x + shift_nm[1], error)
        at = bisect.bisect_left([k.at_ns for k in self._knots], to_ns)
        replaces = at < len(self._knots) and self._knots[at].at_ns == to_ns
        self._knots[at : at + replaces] = [knot]

    def disturb(self, at_ns: int, error_nm: float) -> None:
        """The specimen was moved on purpose: what was seen before is less certain by so much (nm)."""
        self._jumps.append((at_ns, error_nm))

    def moved(self, from_ns: int, to_ns: int) -> Pair:
        """Say how far the specimen moved between two times (nm; y, x)."""
        (y0, x0), (y1, x1) = self._stands(from_ns), self._stands(to_ns)
        return y1 - y0, x1 - x0

    def predict(self, position_nm: Pair, seen_ns: int, now_ns: int) -> Pair:
        """Say where something lies now that was seen earlier (scan coordinates)."""
        dy, dx = self.moved(seen_ns, now_ns)
        return position_nm[0] + dy, position_nm[1] + dx

    def error_nm(self, seen_ns: int, now_ns: int) -> float:
        """Standard deviation per axis of what `predict` says."""
        first, last = sorted((seen_ns, now_ns))
        jumps = [error for at, error in self._jumps if first < at <= last]
        spread = self._velocity()[1]
        inside = self._knots and self._knots[0].at_ns <= last and first <= self._knots[-1].at_ns
        if not inside:
            return math.hypot(spread * (last - first) * 1e-9, *jumps)
        ends = (self._lag_error_nm(first), self._lag_error_nm(last))
        # Never more than if nothing had been measured in between.
        return math.hypot(min(math.hypot(*ends), spread * (last - first) * 1e-9), *jumps)

    def _lag_error_nm(self, at_ns: int) -> float:
        """Error of `_stands`, by the time to the nearest knot."""
        if not self._knots:
            return 0.0
        nearest = min(self._knots, key=lambda k: abs(k.at_ns - at_ns))
        return math.hypot(nearest.error_nm, self._velocity()[1] * abs(nearest.at_ns - at_ns) * 1e-9)

    def _stands(self, at_ns: int) -> Pair:
        knots = self._knots
        if not knots:
            return 0.0, 0.0
        at = bisect.bisect_right([k.at_ns for k in knots], at_ns)
        if 0 < at < len(knots):
            before, after = knots[at - 1], knots[at]
            part = (at_ns - before.at_ns) / (after.at_ns - before.at_ns)
            return (
                before.y_nm + part * (after.y_nm - before.y_nm),
                before.x_nm + part * (after.x_nm - before.x_nm),
            )
        end = knots[0] if at == 0 else knots[-1]
        vy, vx = self.velocity_nm_per_s
        dt = (at_ns - end.at_ns) * 1e-9
        return end.y_nm + vy * dt, end.x_nm + vx * dt

    def _velocity(self) -> tuple[Pair, float]:
        """Velocity over the last knots, and its standard deviation per axis (nm/s)."""
        recent = self._recent()
        if len(recent) < 2:
            return (0.0, 0.0), UNKNOWN_NM_PER_S
        t = np.array([(k.at_ns - recent[-1].at_ns) * 1e-9 for k in recent])
        spread_s = float(np.sqrt(((t - t.mean()) ** 2).sum()))
        if spread_s <= 0:
            return (0.0, 0.0), UNKNOWN_NM_PER_S
        vy, vx = (
            float((t - t.mean()) @ np.array(v) / spread_s**2)
            for v in ([k.y_nm for k in recent], [k.x_nm for k in recent])
        )
        # A frame's place is known to about 0.01 nm.
        measured = 0.01 / spread_s
        if measured > UNKNOWN_NM_PER_S:
            return (0.0, 0.0), UNKNOWN_NM_PER_S
        return (vy, vx), math.hypot(measured, _CHANGES * math.hypot(vy, vx), _STEADY_NM_PER_S)

    def _recent(self) -> list[_Knot]:
        """The last knots between which the specimen was not moved on purpose; two at least, or none."""
        jumps = sorted(at for at, _ in self._jumps)
        pieces: dict[int, list[_Knot]] = {}
        for knot in self._knots:
            pieces.setdefault(bisect.bisect_right(jumps, knot.at_ns), []).append(knot)
        for _, piece in sorted(pieces.items(), reverse=True):
            if len(piece) >= 2:
                return [k for k in piece[-_RECENT:] if piece[-1].at_ns - k.at_ns <= _RECENT_NS]
        return []
