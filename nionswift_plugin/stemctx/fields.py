"""The panel's fields: from what is remembered to what is shown, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from nionswift_plugin.stemctx.panel_model import QUANTITIES, PanelModel, put
from nionswift_plugin.stemctx.settings import Remembered
from stemctx_core import classes, materials
from stemctx_core.errors import InputError


def show(model: PanelModel, remembered: Remembered) -> None:
    """Fill the fields."""
    names = list(materials.hosts())
    put(model.host_index, names.index(remembered.host) if remembered.host in names else 0)
    put(model.candidates, ", ".join(remembered.dopants))
    for name, entry in model.entered.items():
        value = remembered.user.get(name)
        put(entry, "" if value is None else f"{value:g}")


def read(model: PanelModel, remembered: Remembered, scan_device_id: str) -> Remembered:
    """What the fields say, with the rest as remembered.

    Raises
    ------
    InputError
        An element that cannot be a candidate, or a number that is none.
    """
    host = list(materials.hosts())[model.host_index.value or 0]
    dopants = tuple(part for part in (model.candidates.value or "").replace(",", " ").split() if part)
    classes.candidates(host, dopants)
    user = {}
    for name, label, unit in QUANTITIES:
        text = (model.entered[name].value or "").strip().replace(",", ".")
        if text:
            user[name] = _number(text, label, unit)
    return msgspec.structs.replace(
        remembered,
        host=host,
        dopants=dopants,
        channel_index=max(0, model.channel_index.value or 0),
        user=user,
        scan_device_id=scan_device_id,
    )


def listen(model: PanelModel, edited: Callable[[], None]) -> None:
    """Have `edited` called whenever a field changes."""
    for field in _all(model):
        field.on_value_changed = lambda _: edited()


def unlisten(model: PanelModel) -> None:
    """Undo `listen`."""
    for field in _all(model):
        field.on_value_changed = None


def _all(model: PanelModel) -> list[Any]:
    return [
        model.host_index,
        model.candidates,
        model.device_index,
        model.channel_index,
        *model.entered.values(),
    ]


def _number(text: str, label: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{label}: '{text}' is not a positive number. Enter it in {unit}, or leave it empty.")
    return value
