"""What a live run on the simulated microscope came to, and the folder that it leaves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime.recording.recorder import RecordingStatus
from sim.instrument import MicroscopeSettings
from sim.scoring import FrameScore, Score
from stemctx_core.errors import InputError
from stemctx_core.look.pictures import write_overlay
from stemctx_core.results import FrameResult
from stemctx_core.whole_files import write_whole


@dataclass(frozen=True)
class JudgedFrame:
    """One frame with what was said of it and how right that is.

    Attributes
    ----------
    number
        Counts the answers from 1.
    latency_ms
        From the last row to the result.
    image
        As it was scanned.
    """

    number: int
    result: FrameResult
    latency_ms: float
    score: FrameScore
    image: NDArray[np.float32]


@dataclass
class LiveReport:
    """What a run came to; grows frame by frame.

    Attributes
    ----------
    scanned, replaced
        Frames that the scan brought, and those that a newer one replaced before they were sent.
    interrupted
        Whether the user ended it before its time.
    recording
        What became of the recording; None without one.
    """

    settings: MicroscopeSettings
    scanned: int = 0
    replaced: int = 0
    refused: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    total: FrameScore = field(default_factory=FrameScore)
    last: JudgedFrame | None = None
    interrupted: bool = False
    recording: RecordingStatus | None = None

    def add(self, frame: JudgedFrame) -> None:
        """Take a frame in."""
        self.latencies_ms.append(frame.latency_ms)
        self.total += frame.score
        self.refused += frame.result.refusal is not None
        self.last = frame

    def latency_ms(self, percentile: float) -> float | None:
        """Percentile of the latencies (ms)."""
        return round(float(np.percentile(self.latencies_ms, percentile)), 2) if self.latencies_ms else None

    def summary(self) -> dict[str, Any]:
        """Everything ready for JSON; precision and recall are over all frames together."""
        result = self.last.result if self.last else None
        return {
            **_rates(self.total.strict),
            "detection": _rates(self.total.detection),
            "true_defects_abstained": self.total.abstained,
            "latency_ms": {"p50": self.latency_ms(50), "p95": self.latency_ms(95)},
            "frames": {
                "scanned": self.scanned,
                "answered": len(self.latencies_ms),
                "replaced": self.replaced,
                "refused": self.refused,
            },
            "engine": msgspec.to_builtins(result.engine) if result else None,
            "model": result.model if result else None,
            "context": msgspec.to_builtins(result.context) if result else None,
            "microscope": asdict(self.settings),
            "interrupted": self.interrupted,
            "recording": msgspec.to_builtins(self.recording, enc_hook=str),
        }


class LiveFolder:
    """The files of a run; they are written at its end, each whole or not at all.

    Parameters
    ----------
    path
        Made where it is not there.

    Raises
    ------
    InputError
        Before anything is scanned, where nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise InputError(f"The folder {path} cannot be written to. Choose another --output.")
        self._lines: list[str] = []

    def add(self, frame: JudgedFrame) -> None:
        """Keep a frame's flags and scores."""
        line = json.loads(frame.result.to_json_line())
        line["latency_ms"] = round(frame.latency_ms, 2)
        line["score"] = {"strict": _rates(frame.score.strict), "detection": _rates(frame.score.detection)}
        self._lines.append(json.dumps(line))

    def write(self, report: LiveReport) -> None:
        """Write what there is."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._put("results.jsonl", "".join(line + "\n" for line in self._lines))
        if report.last is not None:
            write_overlay(self.path / "overlay.png", report.last.image, report.last.result)
        self._put("summary.json", json.dumps(report.summary(), indent=1) + "\n")

    def _put(self, name: str, text: str) -> None:
        write_whole(self.path / name, text)


def _rates(counts: Score) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "precision": rounded(counts.precision),
        "recall": rounded(counts.recall),
        "right": counts.right,
        "wrong": counts.wrong,
        "missed": counts.missed,
    }
