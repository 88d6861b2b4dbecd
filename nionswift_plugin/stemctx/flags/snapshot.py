"""An image with its flags as a data item of the library, which can be read where the plug-in is not installed."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from nion.data import DataAndMetadata
from nion.swift.model import DataItem, Graphics

from nionswift_plugin.stemctx.overlay.composite import FlagsGraphic
from nionswift_plugin.stemctx.overlay.markers import label, markers
from nionswift_plugin.stemctx.service.shown import ShownRule, shown_sites
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from stemctx_core.look.colours import ROLE_COLOURS
from stemctx_core.results import FrameResult

#: Key of the results in the metadata of the data item.
METADATA_KEY: Final = "stemctx"
FORMAT: Final = 1
#: Nion Swift draws every point by itself, and becomes slow of more.
MOST_POINTS: Final = 50
#: Metadata are read and written whole whenever one of them changes.
MOST_ROWS: Final = 500


def snapshot(document_model: Any, frame: TappedFrame, result: FrameResult, rule: ShownRule) -> Any:
    """Add an image with its flags to a project; to be called on the window's thread.

    The flags stand in the metadata under `METADATA_KEY` as `FrameResult.rows` gives them (at most `MOST_ROWS`, those
    that are shown and most probable), with the summary of the result. The most probable are points with a label; where
    there are more than `MOST_POINTS`, the others are one graphic that is drawn as long as the project is open.

    Returns
    -------
    data_item
        The new data item.
    """
    sites = shown_sites(result, rule)
    order = sites[(-result.sites.probability[sites]).argsort(kind="stable")]
    rows = result.rows()
    metadata = dict(frame.metadata)
    metadata[METADATA_KEY] = {
        "format": FORMAT,
        **result.summary(),
        "shown_by": msgspec.to_builtins(rule),
        "shown": len(order),
        "sites_shown": [rows[int(i)] for i in order[:MOST_ROWS]],
    }
    xdata = DataAndMetadata.new_data_and_metadata(
        frame.data.copy(), dimensional_calibrations=frame.calibrations or None, metadata=metadata
    )
    data_item = DataItem.new_data_item(xdata)
    counts = ", ".join(f"{n} {species}" for species, n in _counts(result, order).items())
    data_item.title = f"{frame.channel_name} with flags ({counts or 'none'})"
    document_model.append_data_item(data_item)
    display_item = document_model.get_display_item_for_data_item(data_item)
    height, width = frame.data.shape
    with document_model.item_transaction(display_item):
        for i in order[:MOST_POINTS].tolist():
            display_item.add_graphic(_point(result, i, (height, width)))
        if len(order) > MOST_POINTS:
            others = {int(i) for i in order[MOST_POINTS:]}
            graphic = FlagsGraphic()
            drawn = zip(sites.tolist(), markers(result, rule), strict=True)
            graphic.show(tuple(m for i, m in drawn if i in others), False)
            display_item.add_graphic(graphic)
    return data_item


def _point(result: FrameResult, site: int, shape: tuple[int, int]) -> Any:
    point = Graphics.PointGraphic()
    y, x = float(result.sites.y_px[site]), float(result.sites.x_px[site])
    point.position = (y + 0.5) / shape[0], (x + 0.5) / shape[1]
    point.label = label(result, site)
    point.stroke_color = ROLE_COLOURS[result.role(site)]
    point.is_position_locked = True
    return point


def _counts(result: FrameResult, sites: Any) -> dict[str, int]:
    names = [result.species(int(i)) for i in sites]
    return {name: names.count(name) for name in sorted(set(names))}
