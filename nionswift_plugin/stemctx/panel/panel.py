"""The panel in a window: its tabs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nion.swift import Panel
from nion.ui import Declarative
from nion.utils import Model

from nionswift_plugin.stemctx.flags.flag_list import FlagListHandler
from nionswift_plugin.stemctx.panel.live_tab import LiveHandler, Operator
from nionswift_plugin.stemctx.panel.statistics_tab import StatisticsHandler
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from nionswift_plugin.stemctx.window.settings import Settings

PANEL_ID: Final = "stemctx-panel"
PANEL_NAME: Final = "Defect flags"


class PanelHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lays the tabs out.

    A tab is a `Declarative.Handler` with a `ui_view`, made with what it follows (`LiveFeed`), the settings, and the
    window; Nion calls its `close` with the panel's. One with a method `set_on_top` is told whether it is seen, so that
    the window does no work for what nobody sees.

    Attributes
    ----------
    tab
        Model of the number of the tab that is on top.
    handlers
        Of the tabs, by name, in their order.
    """

    def __init__(
        self,
        model: PanelModel,
        operator: Operator,
        feed: LiveFeed,
        settings: Settings,
        document_controller: Any,
    ) -> None:
        super().__init__()
        self._tabs: dict[str, Callable[[], Any]] = {
            "live": lambda: LiveHandler(model, operator),
            "flags": lambda: FlagListHandler(feed, settings, document_controller),
            "statistics": lambda: StatisticsHandler(feed, settings, document_controller),
        }
        self.tab: Any = Model.PropertyModel(0)
        self.tab.on_value_changed = lambda _: self._tell_tabs()
        self.handlers: dict[str, Any] = {}
        u = Declarative.DeclarativeUI()
        self.ui_view = u.create_tabs(
            u.create_tab("Live", u.create_component_instance("live")),
            u.create_tab("Flags", u.create_component_instance("flags")),
            u.create_tab("Statistics", u.create_component_instance("statistics")),
            current_index="@binding(tab.value)",
        )

    def create_handler(self, component_id: str, **more: Any) -> Any:
        """Make a tab, as Nion asks for it."""
        self.handlers[component_id] = made = self._tabs[component_id]()
        self._tell_tabs()
        return made

    def close(self) -> None:
        """Tell the tabs nothing any more."""
        self.tab.on_value_changed = None
        super().close()

    def _tell_tabs(self) -> None:
        for index, name in enumerate(self._tabs):
            tell = getattr(self.handlers.get(name), "set_on_top", None)
            if tell is not None:
                tell(index == self.tab.value)


class FlagsPanel(Panel.Panel):  # type: ignore[misc]
    """The panel in a window; every window has one, so it also tells of windows that open and close."""

    def __init__(self, document_controller: Any, panel_id: str, properties: dict[str, Any]) -> None:
        super().__init__(document_controller, panel_id, PANEL_NAME)
        self._operator: Operator = properties["operator"]
        self.tabs = PanelHandler(
            properties["model"],
            self._operator,
            properties["feed"],
            properties["settings"],
            document_controller,
        )
        self.widget = Declarative.DeclarativeWidget(
            document_controller.ui, document_controller.event_loop, self.tabs
        )
        self._operator.window_opened(document_controller)

    def close(self) -> None:
        """Close with its window."""
        self._operator.window_closed(self.document_controller)
        super().close()
