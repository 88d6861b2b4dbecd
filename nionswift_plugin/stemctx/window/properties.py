"""Nion's property models, which widgets are bound to."""

from __future__ import annotations

from typing import Any


def put(model: Any, value: Any) -> None:
    """Set a property only where it changes; replacing a list would lose the selection in it."""
    if model.value != value:
        model.value = value
