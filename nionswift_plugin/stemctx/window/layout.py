"""Rows that the sections of the panel are laid out in."""

from __future__ import annotations

from typing import Any, Final

from nion.ui import Declarative

LABEL_WIDTH: Final = 92
#: Lines are broken at this width, so that the panel stays narrow.
TEXT_WIDTH: Final = 320

ui: Final[Any] = Declarative.DeclarativeUI()


def row(label: str, *widgets: Any) -> Any:
    """A label and what stands beside it."""
    return ui.create_row(
        ui.create_label(text=label, width=LABEL_WIDTH), *widgets, ui.create_stretch(), spacing=8
    )


def said(label: str, name: str, **more: Any) -> Any:
    """A label and a text of the model."""
    return row(label, ui.create_label(text=bound(f"model.{name}.value"), **more))


def text(name: str) -> Any:
    """A text of the model over several lines."""
    return ui.create_label(text=bound(f"model.{name}.value"), word_wrap=True, max_width=TEXT_WIDTH)


def combo(items: str, index: str, **more: Any) -> Any:
    """A list of the model, and which line of it is chosen."""
    return ui.create_combo_box(
        items_ref=bound(f"model.{items}.value"), current_index=bound(f"model.{index}.value"), **more
    )


def bound(path: str) -> str:
    """A property of the handler, as the widgets follow it."""
    return f"@binding({path})"
