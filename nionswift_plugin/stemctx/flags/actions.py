"""What can be done at a flag: centre it, look at it closer, or record a subscan around it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from nion.utils import Geometry

from sim.geometry import Pair, ScanArea
from stemctx_core.errors import InputError

#: Fields that are scanned for a closer look (nm); smaller ones show too few columns for a lattice.
ZOOM_NM: Final = 4.0
SUBSCAN_NM: Final = 3.0
#: Pixels of a subscan, as many on each side; the wanted number halves the pixels of the frame.
_SUBSCAN_PIXELS: Final = (128, 1024)
#: Part of the image that is shown when the display is zoomed.
_SHOWN_NM: Final = 2.5


def scanned_area(metadata: Mapping[str, Any], shape: tuple[int, int]) -> ScanArea:
    """What a frame was scanned of, from the metadata that it came with.

    Nion's calibrated coordinates count the centre of the scan the other way round, so they are not used.

    Parameters
    ----------
    metadata
        Of the frame.
    shape
        Height and width of the frame in pixels.

    Raises
    ------
    InputError
        Metadata that do not say it.
    """
    scan = metadata.get("scan", {})
    try:
        fraction = scan.get("subscan_fractional_size")
        return ScanArea(
            context_shape=_ints(scan.get("scan_context_size") or shape),
            fov_nm=float(scan["fov_nm"]),
            centre_nm=(float(scan["center_y_nm"]), float(scan["center_x_nm"])),
            rotation_rad=float(scan.get("rotation") or 0.0),
            subscan_shape=shape if fraction else None,
            subscan_fraction=_pair(fraction) if fraction else None,
            subscan_centre=_pair(scan.get("subscan_fractional_center") or (0.5, 0.5)) if fraction else None,
            subscan_rotation_rad=float(scan.get("subscan_rotation") or 0.0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The frame does not say which field it was scanned of ({error}).") from error


def place_nm(area: ScanArea, y_px: float, x_px: float) -> Pair:
    """Coordinates of the scan (y, x) at which a pixel of the frame lies."""
    ((y, x),) = area.geometry().to_specimen_nm(np.array([[y_px, x_px]]))
    return float(y), float(x)


def centre(scan: Any, at_nm: Pair, field_of_view_nm: float | None = None) -> None:
    """Scan with a point in the middle from the next frame on, and a smaller field where one is given."""
    scan.subscan_enabled = False
    parameters = scan.get_current_frame_parameters()
    parameters.center_nm = Geometry.FloatPoint(*at_nm)
    if field_of_view_nm is not None:
        parameters.fov_nm = min(field_of_view_nm, parameters.fov_nm)
    scan.set_current_frame_parameters(parameters)


def record_subscan(scan: Any, area: ScanArea, at_nm: Pair, side_nm: float = SUBSCAN_NM) -> list[Any]:
    """Scan a square around a point once, with half the pixel size of the frame; the live scan goes on afterwards.

    Waits until it is scanned, so not for the window's thread.

    Parameters
    ----------
    scan
        Nion's scan hardware source.
    area
        What the frame was scanned of.
    at_nm
        The point, by `place_nm`.
    side_nm
        Of the square; what would reach beyond the field is moved inside.

    Raises
    ------
    InputError
        Where something is being recorded already, or nothing came.
    """
    if scan.is_recording:
        raise InputError("The scan is recording something else. Wait until it has ended.")
    frames = [f for f in scan.record_immediate(_parameters(scan, area, at_nm, side_nm)) if f is not None]
    if not frames:
        raise InputError("The subscan gave no frame. Was it stopped?")
    return frames


def zoom_display(display_item: Any, y: float, x: float, field_nm: float) -> None:
    """Show a place of an image larger, without scanning anything.

    Parameters
    ----------
    y, x
        As fractions of the image.
    field_nm
        Width of the image.
    """
    display_item.set_display_property("image_zoom", max(1.0, field_nm / _SHOWN_NM))
    display_item.set_display_property("image_position", [y, x])
    display_item.set_display_property("image_canvas_mode", "custom")


def show_all(display_item: Any) -> None:
    """Show the whole image again."""
    display_item.set_display_property("image_canvas_mode", "fit")


def _parameters(scan: Any, area: ScanArea, at_nm: Pair, side_nm: float) -> Any:
    whole = ScanArea(area.context_shape, area.fov_nm, area.centre_nm, area.rotation_rad).geometry()
    shape = np.array(area.context_shape, float)
    size = np.minimum(side_nm / (whole.pixel_size_nm * shape), 1.0)
    (met,) = whole.to_px(np.array([at_nm]))
    middle = np.clip((met + 0.5) / shape, size / 2, 1 - size / 2)
    wanted = side_nm / (area.geometry().pixel_size_nm / 2)
    scale = float(np.clip(wanted, *_SUBSCAN_PIXELS)) / side_nm
    pixels = np.maximum(1, np.round(size * shape * whole.pixel_size_nm * scale)).astype(int)
    p = copy.copy(scan.get_current_frame_parameters())
    p.pixel_size = Geometry.IntSize(*area.context_shape)
    p.fov_nm, p.rotation_rad = area.fov_nm, area.rotation_rad
    p.center_nm = Geometry.FloatPoint(*area.centre_nm)
    p.subscan_pixel_size = Geometry.IntSize(*pixels.tolist())
    p.subscan_fractional_size = Geometry.FloatSize(*size.tolist())
    p.subscan_fractional_center = Geometry.FloatPoint(*middle.tolist())
    p.subscan_rotation = 0.0
    return p


def _ints(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _pair(values: Any) -> Pair:
    first, second = values
    return float(first), float(second)
