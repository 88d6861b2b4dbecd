"""How the list of flags is laid out: the list, and what can be done with the flag that is chosen."""

from __future__ import annotations

from typing import Any

from nionswift_plugin.stemctx.flags import actions
from nionswift_plugin.stemctx.window.layout import TEXT_WIDTH, bound, row, ui


def laid_out() -> Any:
    """The list and its buttons, bound to the properties and methods of `FlagListHandler`."""

    def button(text: str, name: str, tip: str, *, flag: bool = True) -> Any:
        more = {"enabled": bound("can_act.value")} if flag else {}
        return ui.create_push_button(text=text, on_clicked=f"{name}_clicked", tool_tip=tip, **more)

    orders = ui.create_combo_box(
        items_ref=bound("orders.value"), current_index=bound("order.value"), min_width=120
    )
    species = ui.create_combo_box(
        items_ref=bound("species.value"), current_index=bound("species_index.value"), min_width=90
    )
    return ui.create_column(
        ui.create_label(text=bound("title.value"), word_wrap=True, max_width=TEXT_WIDTH),
        row("Sort by", orders, ui.create_check_box(text="Backwards", checked=bound("backwards.value"))),
        ui.create_list_box(
            name="list_box",
            items_ref=bound("texts.value"),
            min_height=240,
            min_width=280,
        ),
        row(
            "Scan",
            button("Centre", "centre", "Scan with this flag in the middle"),
            button("Smaller field", "smaller", f"Scan {actions.ZOOM_NM:g} nm around this flag"),
            button("Subscan", "subscan", f"Record {actions.SUBSCAN_NM:g} nm around this flag into the library"),
        ),
        row(
            "Show",
            button("Zoom", "zoom", "Show this flag larger; nothing is scanned for it"),
            button("Whole image", "whole", "Show the whole image again", flag=False),
        ),
        row(
            "It is",
            button("Right", "accept", "Keep it as a label: the flag is right"),
            button("Wrong", "reject", "Keep it as a label: the host's own column stands there"),
        ),
        row("It is rather", species, button("Relabel", "relabel", "Keep it as a label of this species")),
        row(
            "Keep",
            button("Snapshot", "snapshot", "Image and flags into the library", flag=False),
            button("Export CSV", "export", "Every site of the frame into a file", flag=False),
        ),
        ui.create_label(text=bound("said.value"), word_wrap=True, max_width=TEXT_WIDTH),
        ui.create_stretch(),
        spacing=4,
        margin=6,
    )
