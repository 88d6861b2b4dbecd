"""Line plots of a session as data items of the library: made when asked for, and brought up to date when asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem
from numpy.typing import NDArray

from nionswift_plugin.stemctx.statistics.counts import SessionStatistics
from stemctx_core.errors import InputError
from stemctx_core.look.colours import curve_colours

#: Points of a curve over time.
MOST_POINTS: Final = 1000


@dataclass(frozen=True)
class Curves:
    """What one plot shows.

    Attributes
    ----------
    title
        Of the data item, by which it is found again.
    names
        One for each curve.
    values
        (curves, points).
    step, start, unit
        Of the horizontal axis.
    value_unit
        Of the vertical axis.
    """

    title: str
    names: tuple[str, ...]
    values: NDArray[np.float64]
    step: float
    start: float
    unit: str
    value_unit: str


def counts_curves(session: SessionStatistics) -> Curves:
    """Density of each species over time (10¹² cm⁻², so that the numbers are readable)."""
    names = session.species or ("no flags",)
    values = [[1e-12 * row.density_per_cm2(name) for row in session.rows] for name in names]
    return _over_time("Defect density", session, names, values, "10¹² cm⁻²")


def latency_curves(session: SessionStatistics) -> Curves:
    """Latency (ms) and the dose of the field so far (10³ e/Å²) over time."""
    latency = [row.latency_ms for row in session.rows]
    dose = [1e-3 * row.dose_so_far_e_per_angstrom2 for row in session.rows]
    names = ("latency (ms)", "dose so far (10³ e/Å²)")
    return _over_time("Latency and dose", session, names, [latency, dose], "")


def distance_curves(session: SessionStatistics) -> Curves:
    """Radial distribution, and density of the distance to the nearest neighbour (1/nm), over the distance."""
    found = session.distances
    if found.points < 2:
        raise InputError("There are no two flags yet whose distance could be shown. Wait for more frames.")
    step = float(found.distance_nm[1] - found.distance_nm[0])
    values = np.stack([np.nan_to_num(found.radial), found.nearest_per_nm])
    names = ("radial distribution", "nearest neighbour (1/nm)")
    return Curves("Distances between defects", names, values, step, float(found.distance_nm[0]), "nm", "")


def plot(document_model: Any, curves: Curves) -> Any:
    """Show curves in the data item of their title, which is made where there is none; on the window's thread.

    Returns
    -------
    data_item
        With one layer a curve.
    """
    xdata = DataAndMetadata.new_data_and_metadata(
        np.ascontiguousarray(curves.values),
        intensity_calibration=Calibration.Calibration(units=curves.value_unit),
        dimensional_calibrations=[
            Calibration.Calibration(),
            Calibration.Calibration(curves.start, curves.step, curves.unit),
        ],
        # One image and not a collection of lines, of which Nion Swift would show the first in every layer.
        data_descriptor=DataAndMetadata.DataDescriptor(False, 0, 2),
    )
    item = next((i for i in document_model.data_items if i.title == curves.title), None)
    if item is None:
        item = DataItem.new_data_item(xdata)
        item.title = curves.title
        document_model.append_data_item(item)
    else:
        item.set_xdata(xdata)
    display_item = document_model.get_display_item_for_data_item(item)
    display_item.display_type = "line_plot"
    # The last layer takes its data item along when it goes, so layers are used again.
    for row in range(len(display_item.display_layers), len(curves.names)):
        display_item.add_display_layer_for_display_data_channel(
            display_item.display_data_channels[0], data_row=row
        )
    for row in range(len(display_item.display_layers) - 1, len(curves.names) - 1, -1):
        display_item.remove_display_layer(row).close()
    for row, (name, colour) in enumerate(zip(curves.names, curve_colours(curves.names), strict=True)):
        layer = display_item.display_layers[row]
        if (layer.label, layer.data_row) != (name, row):
            display_item._set_display_layer_properties(
                row, data_row=row, label=name, stroke_color=colour, fill_color=None
            )
    display_item.set_display_property("legend_position", "top-right")
    return item


def _over_time(
    title: str, session: SessionStatistics, names: tuple[str, ...], values: list[list[float]], value_unit: str
) -> Curves:
    """Rows of the history come at any time; a line plot has even steps."""
    if not session.rows:
        raise InputError("There is nothing to plot. Start judging, and wait for the first whole frame.")
    times = np.array([row.elapsed_s for row in session.rows])
    even = np.linspace(times[0], times[-1], min(MOST_POINTS, max(2, len(times))))
    drawn = []
    for of_one in np.array(values, float):
        known = np.isfinite(of_one)
        drawn.append(np.interp(even, times[known], of_one[known]) if known.any() else np.zeros_like(even))
    step = float(even[1] - even[0]) or 1.0
    return Curves(title, names, np.array(drawn), step, float(even[0]), "s", value_unit)
