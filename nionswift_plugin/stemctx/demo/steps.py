"""What the operator of a demonstration does, one step after the other, and what is to be seen of each."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nion.utils import Geometry

from nionswift_plugin.stemctx.demo.stage import Stage
from nionswift_plugin.stemctx.flags.snapshot import METADATA_KEY
from nionswift_plugin.stemctx.service.passes import is_whole
from nionswift_plugin.stemctx.window.panel_model import PROBABILITY_STEPS
from nionswift_plugin.stemctx_simulator import plug_in as simulator
from stemctx_core.context import Known
from stemctx_core.errors import InputError
from stemctx_core.results import FrameResult

#: A first start compiles the loops of the analysis, which takes minutes where other work goes on.
_FIRST_S: Final = 400.0
_FRAMES: Final = 2
_OTHER_ENERGY_KV: Final = 60.0
_MID_SCAN: Final = (0.2, 0.7)
#: A tenth of the current leaves vacancies that are not sure; a place that was not scanned yet has no evidence.
_LESS_CURRENT: Final = 0.1
_ELSEWHERE_NM: Final = (20.0, 10.0)
_SURE: Final = 0.95


async def flags(stage: Stage) -> dict[str, Any]:
    """Wait for the first flags."""
    await stage.until("the first frames", lambda: len(stage.judged) >= _FRAMES and stage.labels, _FIRST_S)
    return {"labels": stage.labels, "state": stage.plug_in.feed.status.state.value}


async def specimen(stage: Stage) -> dict[str, Any]:
    """Compare the flags with what stands there."""
    loaded = simulator.current()
    if loaded is None:
        raise InputError("The simulated microscope is not loaded, so that nothing is known of the specimen.")
    form = loaded.form
    form.tab.value, form.truth.value = 2, True
    shown = len(stage.display_item.graphics)
    await stage.until(
        "the truth and a score", lambda: form.score.value and len(stage.display_item.graphics) > shown
    )
    return {"score": form.score.value, "calibration": form.probability.value, "beam": form.beam.value}


async def energy(stage: Stage) -> dict[str, Any]:
    """Change the beam energy while a frame is being scanned."""
    if (loaded := simulator.current()) is not None:
        loaded.form.tab.value, loaded.form.truth.value = 1, False
    least, most = _MID_SCAN
    await stage.until("the middle of a frame", lambda: least < _under_way(stage)[1] < most)
    mixed, rows = _under_way(stage)
    stage.plug_in.scan.stem_controller.SetVal("EHT", _OTHER_ENERGY_KV * 1e3)

    def judged() -> bool:
        whole = [r for r in stage.judged if r.frame.scan_id != mixed and _energy_kv(r) == _OTHER_ENERGY_KV]
        return len(whole) >= _FRAMES and bool(stage.labels)

    await stage.until("frames at the other energy", judged)
    return {"high_tension_kv": _OTHER_ENERGY_KV, "mixed": mixed, "at_rows": round(rows, 3)}


async def threshold(stage: Stage) -> dict[str, Any]:
    """With less current, hide what is not sure, and then a class."""
    plug_in = stage.plug_in
    stem, model = plug_in.scan.stem_controller, plug_in.model
    stem.SetVal("BeamCurrent", _LESS_CURRENT * stem.GetVal("BeamCurrent"))
    parameters = plug_in.scan.get_current_frame_parameters()
    parameters.center_nm = Geometry.FloatPoint(*_ELSEWHERE_NM)
    plug_in.scan.set_current_frame_parameters(parameters)
    await stage.until("a frame of less dose", lambda: len(stage.judged) > 1 and stage.labels)
    plug_in.freeze()  # so that only the rule changes what is drawn
    drawn = [stage.labels]
    model.probability.value = round(_SURE * PROBABILITY_STEPS)
    await stage.until("fewer flags", lambda: stage.labels != drawn[0])
    drawn.append(stage.labels)
    model.roles["DOPANT"].value = False
    await stage.until("flags without dopants", lambda: stage.labels != drawn[1])
    drawn.append(stage.labels)
    plug_in.freeze()
    before = len(stage.judged)
    await stage.until("the scan to go on", lambda: len(stage.judged) > before)
    return {"probability": plug_in.feed.rule.probability, "labels": drawn}


async def zoom(stage: Stage) -> dict[str, Any]:
    """Show a flag larger that is not at the border."""
    plug_in = stage.plug_in
    plug_in.model.probability.value = 0
    plug_in.model.roles["DOPANT"].value = True
    stem = plug_in.scan.stem_controller
    stem.SetVal("BeamCurrent", stem.GetVal("BeamCurrent") / _LESS_CURRENT)
    stage.show_tab("flags")
    # The first frame has rows of both currents.
    await stage.until("a frame of full dose", lambda: len(stage.judged) > 1 and stage.flag_list.rows)
    row = stage.choose_in_the_middle()
    stage.flag_list.zoom_clicked(None)
    return {"row": row.text(), "zoom": stage.display_item.get_display_property("image_zoom")}


async def closer(stage: Stage) -> dict[str, Any]:
    """Scan a smaller field around the flag."""
    stage.flag_list.whole_clicked(None)
    row = stage.flag_list.chosen or stage.choose_in_the_middle()
    stage.flag_list.smaller_clicked(None)
    fov_nm = stage.plug_in.scan.get_current_frame_parameters().fov_nm
    found: list[float] = []

    def seen() -> bool:
        feed = stage.plug_in.feed
        result = feed.result
        frame = feed.frame_of(result) if result is not None else None
        if result is None or frame is None or frame.metadata["scan"]["fov_nm"] != fov_nm:
            return False
        middle = (result.frame.shape[0] - 1) / 2
        found[:] = [
            math.hypot(other.y_px - middle, other.x_px - middle)
            for other in stage.flag_list.rows
            if other.species == row.species
        ]
        return is_whole(result) and bool(found)

    await stage.until("a closer look", seen)
    return {"species": row.species, "fov_nm": fov_nm, "from_centre_px": min(found)}


async def snapshot(stage: Stage) -> dict[str, Any]:
    """Keep image and flags in the library."""
    document_model = stage.window.document_model
    before = set(document_model.data_items)
    stage.flag_list.snapshot_clicked(None)
    await stage.until("the snapshot", lambda: set(document_model.data_items) - before)
    (item,) = set(document_model.data_items) - before
    kept = item.metadata[METADATA_KEY]
    points = _show(stage, item).graphics
    return {
        "title": item.title,
        "shown": kept["shown"],
        "rows": len(kept["sites_shown"]),
        "points": len(points),
    }


async def statistics(stage: Stage) -> dict[str, Any]:
    """Plot the densities of the session."""
    stage.show_tab("statistics")
    tab, document_model = stage.tabs.handlers["statistics"], stage.window.document_model
    before = set(document_model.data_items)
    tab.counts_clicked(None)
    await stage.until("the plot", lambda: set(document_model.data_items) - before)
    (item,) = set(document_model.data_items) - before
    _show(stage, item)
    return {"title": item.title, "frames": tab.frames.value, "counts": list(tab.counts.value)}


def _show(stage: Stage, data_item: Any) -> Any:
    """Put a data item where the live image was, and return its display item."""
    display_item = stage.window.document_model.get_display_item_for_data_item(data_item)
    stage.window.workspace_controller.display_panels[0].set_display_panel_display_item(display_item)
    return display_item


def _under_way(stage: Stage) -> tuple[str, float]:
    """Scan id of the pass on the screen, and which part of its rows has come."""
    metadata = stage.display_item.data_item.metadata
    rows = metadata["hardware_source"]["valid_rows"]
    return metadata["scan"]["scan_id"], rows / metadata["scan"]["scan_size"][0]


def _energy_kv(result: FrameResult) -> float | None:
    tension = result.context.high_tension_kv
    return tension.value if isinstance(tension, Known) else None


STEPS: Final[dict[str, Callable[[Stage], Awaitable[dict[str, Any]]]]] = {
    "flags": flags,
    "specimen": specimen,
    "energy": energy,
    "threshold": threshold,
    "zoom": zoom,
    "closer": closer,
    "snapshot": snapshot,
    "statistics": statistics,
}
