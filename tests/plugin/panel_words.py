"""Words that an operator sees, taken from the panels themselves and from Nion Swift's own windows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nion.swift

import stemctx_core
from nionswift_plugin.stemctx.flags.flag_list import FlagListHandler
from nionswift_plugin.stemctx.flags.flag_rows import rows_of
from nionswift_plugin.stemctx.panel.imaged_section import ControlsHandler, ImagedHandler
from nionswift_plugin.stemctx.panel.live_tab import LiveHandler
from nionswift_plugin.stemctx.panel.panel import PANEL_NAME, PanelHandler
from nionswift_plugin.stemctx.panel.shown_section import ShownHandler
from nionswift_plugin.stemctx.panel.statistics_tab import StatisticsHandler
from nionswift_plugin.stemctx.service.passes import ShownFlag
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import LiveState, LiveStatus
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.panel_model import PanelModel, spoken, spoken_flags, spoken_freeze
from nionswift_plugin.stemctx.window.settings import Settings, SettingsFile
from nionswift_plugin.stemctx_simulator.form import Form
from nionswift_plugin.stemctx_simulator.panel import PANEL_NAME as SPECIMEN_NAME
from nionswift_plugin.stemctx_simulator.panel import SpecimenHandler
from stemctx_core.context import Known, Missing, Source
from stemctx_core.results import Decision
from tests.realtime.support import result

_SHOWN_UNDER = ("text", "label", "title")


@cache
def buttons() -> frozenset[str]:
    """What stands on the buttons of both panels."""
    pushed = [d["text"] for view in _views() for d in _parts(view) if d.get("type") == "push_button"]
    return frozenset(text for text in [*pushed, *map(spoken_freeze, (False, True))] if not _is_bound(text))


@cache
def labels() -> frozenset[str]:
    """What always stands in the panels: tabs, sections, fields, buttons, boxes; and the names of the panels."""
    shown = [d[key] for view in _views() for d in _parts(view) for key in _SHOWN_UNDER if key in d]
    return frozenset({*(text for text in shown if not _is_bound(text)), *buttons(), PANEL_NAME, SPECIMEN_NAME})


@cache
def said() -> frozenset[str]:
    """What the panels say of the state of things, whole and in its pieces, without numbers."""
    model, some = PanelModel(), result(100)
    model.show_status(LiveStatus(), running=False)
    (flag, *_) = some.where(Decision.FLAG)
    (row,) = rows_of([ShownFlag(some, int(flag), older=True)], passes=2)
    sources = (Source.FRAME, Source.INSTRUMENT, Source.USER)
    texts = [
        *(state.value for state in LiveState),
        *(spoken(Known(80.0, source, ""), "kV") for source in sources),
        spoken(Missing(""), "kV"),
        str(model.frames.value),
        spoken_flags(some, ShownRule(probability=1.1)),
        row.text(),
    ]
    pieces = [piece for text in texts for piece in (text, *re.split(r"[;,()]|  ", text))]
    return frozenset(without_number(piece) for piece in pieces) - {""}


def without_number(text: str) -> str:
    """A text without the number that it begins with."""
    return re.sub(r"^[\d. ]+", "", text.strip())


@cache
def of_the_core() -> tuple[str, ...]:
    """Literal texts of the core, the pieces before the first number of each."""
    root = Path(stemctx_core.__file__).parent
    return tuple(text for path in sorted(root.rglob("*.py")) for text in _literals(path))


@cache
def host_panels() -> frozenset[str]:
    """Panels that Nion Swift lists in its menu Window."""
    calls = (node for tree in _host_code() for node in ast.walk(tree) if isinstance(node, ast.Call))
    registering = (c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "register_panel")
    return frozenset(name for call in registering for argument in call.args for name in _translated(argument))


@cache
def host_actions() -> frozenset[str]:
    """What can be done in Nion Swift's menus."""
    given = (node for tree in _host_code() for node in ast.walk(tree) if isinstance(node, ast.Assign))
    named = (g for g in given if isinstance(g.targets[0], ast.Name) and g.targets[0].id == "action_name")
    return frozenset(name for assignment in named for name in _translated(assignment.value))


def _views() -> Iterator[Any]:
    """Layouts of every tab and section, as they are given to Nion."""
    model, feed, settings = PanelModel(), LiveFeed(), Settings(SettingsFile(None))
    nobody: Any = None  # layouts are asked for, and nothing is clicked
    tabs: list[Any] = [
        PanelHandler(model, nobody, feed, settings, nobody),
        LiveHandler(model, nobody),
        ImagedHandler(model),
        ShownHandler(model),
        ControlsHandler(model),
        StatisticsHandler(feed, settings, nobody),
        FlagListHandler(feed, settings, nobody),
        SpecimenHandler(Form(), nobody, nobody),
    ]
    for tab in tabs:
        yield tab.ui_view
        tab.close()


def _parts(view: Any) -> Iterator[dict[str, Any]]:
    """Every widget of a layout."""
    if isinstance(view, dict):
        yield view
        for inner in view.values():
            yield from _parts(inner)
    elif isinstance(view, (list, tuple)):
        for inner in view:
            yield from _parts(inner)


def _is_bound(text: str) -> bool:
    return text.startswith("@binding")


def _literals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _host_code() -> Iterator[ast.AST]:
    for folder in nion.swift.__path__:
        for path in Path(folder).glob("*.py"):
            yield ast.parse(path.read_text(encoding="utf-8"))


def _translated(node: ast.AST) -> Iterator[str]:
    """What Nion hands over for translation, because people read it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
        yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))
