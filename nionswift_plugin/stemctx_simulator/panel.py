"""The panel "Simulated specimen": what lies under the beam, how the column stands, and how right the flags are."""

from __future__ import annotations

from typing import Any, Final, Protocol

from nion.swift import Panel
from nion.ui import Declarative

from nionswift_plugin.stemctx_simulator.form import CHANGES, CONTROLS, SHARES, Form
from sim.sample import TRAINING_DAMAGE_BARN

PANEL_ID: Final = "stemctx-specimen-panel"
PANEL_NAME: Final = "Simulated specimen"
_LABEL_WIDTH: Final = 136
_TIPS: Final = {
    "damage": f"Cross-section for the loss of a chalcogen atom; {TRAINING_DAMAGE_BARN:g} barn is a rate made up for training, 0 is none",
    "carbon": "Carbon that a dose of 10⁶ e/Å² grows, in units of the brighter host column; 0 is none",
}


class Keeper(Protocol):
    """What the buttons of the panel do."""

    def put_in_crystal(self) -> None:
        """Scan the crystal that the fields describe."""

    def put_in_file(self) -> None:
        """Scan the file that the fields name."""

    def choose_file(self, window: Any) -> None:
        """Let the user choose a file, and scan it."""

    def renew(self) -> None:
        """Scan the same crystal before the beam came."""

    def reset_score(self) -> None:
        """Begin the score anew."""

    def window_opened(self, window: Any) -> None:
        """A window has the panel from now on."""

    def window_closed(self, window: Any) -> None:
        """A window is about to close."""


class SpecimenHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lays the panel out and passes clicks on."""

    def __init__(self, form: Form, keeper: Keeper, window: Any) -> None:
        super().__init__()
        self.form = form
        self._keeper, self._window = keeper, window
        u = Declarative.DeclarativeUI()

        def row(label: str, *widgets: Any) -> Any:
            return u.create_row(
                u.create_label(text=label, width=_LABEL_WIDTH), *widgets, u.create_stretch(), spacing=8
            )

        def entry(name: str, model: Any, label: str, unit: str, tip: str = "") -> Any:
            setattr(self, name, model)  # bindings go by attribute
            edit = u.create_line_edit(text=f"@binding({name}.value)", width=64, tool_tip=tip or None)
            return row(label, edit, u.create_label(text=unit))

        def combo(label: str, name: str) -> Any:
            box = u.create_combo_box(
                items_ref=f"@binding(form.{name}s.value)" if name == "host" else f"@binding(form.{name}.value)",
                current_index=f"@binding(form.{name}_index.value)",
                min_width=130,
            )
            return row(label, box)

        def said(name: str) -> Any:
            return u.create_label(text=f"@binding(form.{name}.value)", word_wrap=True, max_width=300)

        sample = u.create_column(
            combo("Host", "host"),
            row("Dopant element", u.create_line_edit(text="@binding(form.dopant.value)", width=64)),
            *(
                entry(f"share_{role.name.lower()}", form.shares[role], label, "% of sites")
                for role, label in SHARES
            ),
            row("Seed", u.create_line_edit(text="@binding(form.seed.value)", width=64)),
            row(
                "",
                u.create_push_button(text="Put in", on_clicked="put_in_clicked"),
                u.create_push_button(
                    text="Fresh area",
                    on_clicked="renew_clicked",
                    tool_tip="The same crystal before the beam came",
                ),
            ),
            combo("Imaging", "imperfections"),
            u.create_spacing(6),
            row(
                "File",
                u.create_line_edit(
                    text="@binding(form.file.value)", width=150, placeholder_text=".h5, .tif, .npy"
                ),
            ),
            row(
                "Pixel size",
                u.create_line_edit(
                    text="@binding(form.pixel_angstrom.value)", width=64, placeholder_text="as it says"
                ),
                u.create_label(text="Å"),
            ),
            row(
                "",
                u.create_push_button(text="Replay", on_clicked="replay_clicked"),
                u.create_push_button(text="Choose...", on_clicked="choose_clicked"),
            ),
            u.create_stretch(),
            spacing=4,
            margin=6,
        )
        column = u.create_column(
            *(
                entry(f"control_{c.name.lower()}", form.controls[c.name], c.label, c.unit, f"Control {c.name}")
                for c in CONTROLS
            ),
            *(
                entry(f"change_{name}", form.changes[name], label, unit, _TIPS.get(name, ""))
                for name, label, unit in CHANGES
            ),
            u.create_stretch(),
            spacing=4,
            margin=6,
        )
        truth = u.create_column(
            u.create_check_box(text="Show the true defects", checked="@binding(form.truth.value)"),
            said("score"),
            said("probability"),
            u.create_row(
                u.create_push_button(text="Begin anew", on_clicked="reset_clicked"), u.create_stretch()
            ),
            u.create_stretch(),
            spacing=6,
            margin=6,
        )
        self.ui_view = u.create_column(
            said("shown"),
            said("beam"),
            said("message"),
            u.create_tabs(
                u.create_tab("Specimen", sample),
                u.create_tab("Column", column),
                u.create_tab("Truth", truth),
                current_index="@binding(form.tab.value)",
            ),
            spacing=4,
            margin=4,
        )

    def put_in_clicked(self, widget: Any) -> None:
        """Scan another crystal."""
        self._keeper.put_in_crystal()

    def renew_clicked(self, widget: Any) -> None:
        """Scan a fresh area."""
        self._keeper.renew()

    def replay_clicked(self, widget: Any) -> None:
        """Scan a file."""
        self._keeper.put_in_file()

    def choose_clicked(self, widget: Any) -> None:
        """Choose a file."""
        self._keeper.choose_file(self._window)

    def reset_clicked(self, widget: Any) -> None:
        """Begin the score anew."""
        self._keeper.reset_score()


class SpecimenPanel(Panel.Panel):  # type: ignore[misc]
    """The panel in a window."""

    def __init__(self, document_controller: Any, panel_id: str, properties: dict[str, Any]) -> None:
        super().__init__(document_controller, panel_id, PANEL_NAME)
        self._keeper: Keeper = properties["keeper"]
        handler = SpecimenHandler(properties["form"], self._keeper, document_controller)
        self.widget = Declarative.DeclarativeWidget(
            document_controller.ui, document_controller.event_loop, handler
        )
        self._keeper.window_opened(document_controller)

    def close(self) -> None:
        """Close with its window."""
        self._keeper.window_closed(self.document_controller)
        super().close()
