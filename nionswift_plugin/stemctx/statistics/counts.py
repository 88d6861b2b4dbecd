"""What a session has shown so far: counts and densities of defects, dose and latency over time, and distances.

Memory is bounded: when the history is full, every two neighbours become one, so that it always covers the session.
Only whole frames count, and of the frames of one field the newest stands for its distances, because they show the
same defects.
"""

from __future__ import annotations

import csv
import io
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nionswift_plugin.stemctx.statistics.distances import MOST_FIELDS, Distances, distances
from stemctx_core.chemistry import materials
from stemctx_core.judging.decision import NO_LATTICE_HERE
from stemctx_core.results import EDGE, Decision, FrameResult
from stemctx_core.whole_files import write_whole

#: Rows of the history at most; at five frames a second a quarter of an hour without any being joined.
MOST_ROWS: Final = 4096
_CM_PER_ANGSTROM: Final = 1e-8


@dataclass(frozen=True)
class FrameNumbers:
    """One whole frame, or the means of several that follow each other.

    Attributes
    ----------
    elapsed_s
        Since the start of the session, by the monotonic clock (s).
    utc_s
        For records only (s since 1970).
    frames
        How many frames it stands for.
    sites
        Sites that were judged.
    area_cm2
        Area of their unit cells (cm²).
    counts
        Flags of each species.
    undecided
        Sites that could not be decided.
    dose_e_per_angstrom2
        Of one frame, by its noise; NaN where not known.
    dose_so_far_e_per_angstrom2
        That dose times the passes of the beam over the field.
    latency_ms
        From the last row to the result; NaN where not known.
    """

    elapsed_s: float
    utc_s: float
    frames: int
    sites: float
    area_cm2: float
    counts: dict[str, float]
    undecided: float
    dose_e_per_angstrom2: float
    dose_so_far_e_per_angstrom2: float
    latency_ms: float

    def density_per_cm2(self, species: str) -> float:
        """Flags of a species over the area that was judged (cm⁻²); NaN where nothing was."""
        return self.counts.get(species, 0.0) / self.area_cm2 if self.area_cm2 > 0 else float("nan")


class SessionStatistics:
    """Adds frames up; to be used on one thread.

    Parameters
    ----------
    most_rows
        Of the history.
    """

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = max(4, most_rows)
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._started_ns = time.monotonic_ns()
        self._rows: list[FrameNumbers] = []
        self._fields: OrderedDict[Hashable, Distances] = OrderedDict()
        self._newest: tuple[Hashable, FrameResult] | None = None
        self._others = Distances.none()
        self._step = 1
        self.frames = 0

    @property
    def rows(self) -> tuple[FrameNumbers, ...]:
        """The history, oldest first."""
        return tuple(self._rows)

    @property
    def species(self) -> tuple[str, ...]:
        """Species that were flagged, by name."""
        return tuple(sorted({name for row in self._rows for name in row.counts}))

    @property
    def distances(self) -> Distances:
        """Between the flags of every field, added up."""
        return self._others if self._newest is None else self._others + flag_distances(self._newest[1])

    def add(
        self, result: FrameResult, field: Hashable, latency_ms: float | None = None, passes: int = 1
    ) -> FrameNumbers | None:
        """Count a frame in; one that was refused, or is not whole, tells nothing and is passed over.

        Parameters
        ----------
        field
            Equal for frames of the same place.
        latency_ms
            From the last row to the result (ms).
        passes
            How often the beam has passed the field.
        """
        if result.refusal is not None or result.calibration is None or not len(result.sites):
            return None
        if result.frame.valid_rows < result.frame.shape[0]:
            return None
        elapsed_s = (time.monotonic_ns() - self._started_ns) / 1e9
        row = _numbers(result, elapsed_s, latency_ms, passes)
        self.frames += 1
        last = self._rows[-1] if self._rows else None
        if last is not None and last.frames < self._step:
            self._rows[-1] = _joined(last, row)
        else:
            self._rows.append(row)
        if len(self._rows) > self._most_rows:
            self._rows = [_joined(*self._rows[i : i + 2]) for i in range(0, len(self._rows), 2)]
            self._step *= 2
        self._follow(field, result)
        return row

    def _follow(self, field: Hashable, result: FrameResult) -> None:
        """Distances take as long as a painting, so they are found when asked for, and when a field is left."""
        if self._newest is not None and self._newest[0] != field:
            left, last = self._newest
            self._fields[left] = flag_distances(last)
            self._fields.move_to_end(left)
            while len(self._fields) >= MOST_FIELDS:
                self._fields.popitem(last=False)
            self._others = sum((d for f, d in self._fields.items() if f != field), Distances.none())
        self._newest = field, result

    def write_csv(self, path: Path) -> None:
        """Write one line a row of the history; the file appears whole or not at all."""
        names = self.species
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(
            ["utc_s", "elapsed_s", "frames", "judged_sites", "area_nm2", "undecided"]
            + ["dose_e_per_angstrom2", "dose_so_far_e_per_angstrom2", "latency_ms"]
            + [f"count_{n}" for n in names]
            + [f"density_per_cm2_{n}" for n in names]
        )
        for r in self._rows:
            said = (r.utc_s, r.elapsed_s, r.frames, r.sites, r.area_cm2 * 1e14, r.undecided)
            dose = (r.dose_e_per_angstrom2, r.dose_so_far_e_per_angstrom2, r.latency_ms)
            counts = [r.counts.get(n, 0.0) for n in names]
            densities = [r.density_per_cm2(n) for n in names]
            first, *others = (*said, *dose, *counts, *densities)
            writer.writerow([f"{first:.3f}", *(f"{value:.6g}" for value in others)])
        write_whole(path, text.getvalue())


def judged_sites(result: FrameResult) -> NDArray[np.bool_]:
    """(n,) which sites were looked at: not cut by the border, and with a lattice around them."""
    passed_over = [k for k, reason in enumerate(result.reasons) if reason in (EDGE, NO_LATTICE_HERE)]
    looked_at = np.ones(len(result.sites), bool)
    for k in passed_over:
        looked_at &= result.sites.reason != k
    return looked_at


def flag_distances(result: FrameResult) -> Distances:
    """Distances between the flags of a frame, within the rectangle of the sites that were judged."""
    judged = judged_sites(result)
    if result.calibration is None or not judged.any():
        return Distances.none()
    places_nm = np.stack([result.sites.y_px, result.sites.x_px], axis=1).astype(float)
    places_nm *= result.calibration.pixel_size_angstrom / 10
    low, high = places_nm[judged].min(axis=0), places_nm[judged].max(axis=0)
    window = ((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))
    return distances(places_nm[result.where(Decision.FLAG)], window)


def _numbers(result: FrameResult, elapsed_s: float, latency_ms: float | None, passes: int) -> FrameNumbers:
    sites = int(np.count_nonzero(judged_sites(result)))
    dose = result.calibration.dose_e_per_angstrom2 if result.calibration else float("nan")
    return FrameNumbers(
        elapsed_s=elapsed_s,
        utc_s=time.time(),
        frames=1,
        sites=float(sites),
        area_cm2=sites / 2 * materials.host(result.context.host).cell_angstrom2 * _CM_PER_ANGSTROM**2,
        counts={name: float(count) for name, count in result.flag_counts().items()},
        undecided=float(len(result.undecided())),
        dose_e_per_angstrom2=dose,
        dose_so_far_e_per_angstrom2=dose * passes,
        latency_ms=float("nan") if latency_ms is None else latency_ms,
    )


def _joined(*rows: FrameNumbers) -> FrameNumbers:
    """Rows that follow each other as one, each weighted by its frames; the last one's dose so far."""
    frames = sum(row.frames for row in rows)

    def mean(name: str) -> float:
        values = [(getattr(row, name), row.frames) for row in rows]
        known = [(value, weight) for value, weight in values if value == value]
        return sum(v * w for v, w in known) / sum(w for _, w in known) if known else float("nan")

    names = {name for row in rows for name in row.counts}
    return replace(
        rows[-1],
        frames=frames,
        counts={name: sum(r.counts.get(name, 0.0) * r.frames for r in rows) / frames for name in names},
        **{
            name: mean(name)
            for name in (
                "elapsed_s",
                "utc_s",
                "sites",
                "area_cm2",
                "undecided",
                "dose_e_per_angstrom2",
                "latency_ms",
            )
        },
    )
