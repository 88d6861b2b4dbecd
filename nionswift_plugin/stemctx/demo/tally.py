"""What was said of the frames of the simulated microscope, against what stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nionswift_plugin.stemctx.service.passes import is_whole
from sim.scoring import score
from sim.shot import shot
from stemctx_core.context import Known
from stemctx_core.results import Decision, FrameResult

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.plug_in import PlugIn


class Tally:
    """Keeps what was shown of whole frames.

    Attributes
    ----------
    step
        Name of the step under way, noted with every frame.
    """

    def __init__(self, plug_in: PlugIn) -> None:
        self._plug_in = plug_in
        self._shown_frames: list[tuple[str, Mapping[str, Any], FrameResult]] = []
        self.step = ""
        self._listener: Any = plug_in.feed.result_changed.listen(self._shown)

    def close(self) -> None:
        """Listen no more."""
        self._listener = None

    def rows(self) -> list[dict[str, Any]]:
        """One row a frame, ready for JSON."""
        return [self._row(*shown) for shown in self._shown_frames]

    def results_of(self, step: str) -> list[FrameResult]:
        """Of the frames of a step, in the order they were shown."""
        return [result for when, _, result in self._shown_frames if when == step]

    def _shown(self) -> None:
        result = self._plug_in.feed.result
        frame = self._plug_in.feed.frame_of(result) if result is not None else None
        if result is not None and frame is not None and is_whole(result):
            self._shown_frames.append((self.step, frame.metadata, result))

    def _row(self, step: str, metadata: Mapping[str, Any], result: FrameResult) -> dict[str, Any]:
        tension, calibration = result.context.high_tension_kv, result.calibration
        scored = score(result, self._plug_in.scan.stem_controller.sample.ground_truth(shot(metadata)))
        return {
            "step": step,
            "scan_id": result.frame.scan_id,
            "high_tension_kv": tension.value if isinstance(tension, Known) else None,
            "high_tension_from": tension.source.value if isinstance(tension, Known) else tension.reason,
            "flags": len(result.where(Decision.FLAG)),
            "refusal": result.refusal.code if result.refusal else None,
            "dose_e_per_angstrom2": calibration.dose_e_per_angstrom2 if calibration else None,
            "frames_accumulated": result.frames_accumulated,
            "strict": asdict(scored.strict),
            "detection": asdict(scored.detection),
        }
