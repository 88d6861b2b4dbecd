"""The section of which flags are shown: least probability, greatest entropy, classes in their colours."""

from __future__ import annotations

from typing import Any, Final

from nion.ui import Declarative

from nionswift_plugin.stemctx.service.shown import DEFECT_ROLES
from nionswift_plugin.stemctx.window.layout import bound, row, ui
from nionswift_plugin.stemctx.window.panel_model import ENTROPY_STEPS, PROBABILITY_STEPS, PanelModel
from stemctx_core.chemistry.classes import Role
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS

#: Classes stand in two columns of this width; these names are too long for it.
_CLASS_WIDTH: Final = 156
SHORT_NAMES: Final = {
    Role.SUBSTITUTION: "substitute",
    Role.DOUBLE_SUBSTITUTION: "pair of substitutes",
    Role.DOPANT_WITH_VACANCY: "dopant + vacancy",
}


class ShownHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lays the section out; its fields act by themselves, through the model."""

    def __init__(self, model: PanelModel) -> None:
        super().__init__()
        self.model = model

        def slider(name: str, steps: int) -> Any:
            return ui.create_slider(value=bound(f"model.{name}.value"), minimum=0, maximum=steps, width=130)

        self.ui_view = ui.create_column(
            row(
                "Probability",
                slider("probability", PROBABILITY_STEPS),
                ui.create_label(
                    text=bound("model.probability_text.value"),
                    tool_tip="Flags whose species is less probable are hidden",
                ),
            ),
            row(
                "Entropy",
                slider("entropy", ENTROPY_STEPS),
                ui.create_label(
                    text=bound("model.entropy_text.value"),
                    tool_tip="Flags whose posterior has more entropy are hidden",
                ),
            ),
            *(
                ui.create_row(*map(self._role, pair), ui.create_stretch(), spacing=8)
                for pair in zip(DEFECT_ROLES[::2], DEFECT_ROLES[1::2], strict=True)
            ),
            spacing=4,
        )

    def _role(self, role: Role) -> Any:
        # Bindings go by attribute.
        setattr(self, f"{role.name}_shown", self.model.roles[role.name])
        return ui.create_row(
            ui.create_label(text="\u25cf", color=ROLE_COLOURS[role], width=14),
            ui.create_check_box(
                text=SHORT_NAMES.get(role, ROLE_WORDS[role]),
                checked=bound(f"{role.name}_shown.value"),
                tool_tip=ROLE_WORDS[role],
                width=_CLASS_WIDTH,
            ),
            spacing=2,
        )
