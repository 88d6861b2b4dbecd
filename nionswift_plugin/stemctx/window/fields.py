"""The panel's fields: from what is remembered to what is shown, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from nionswift_plugin.stemctx.context.context_reader import ControlNames
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.window.panel_model import (
    ENTROPY_STEP_NATS,
    ENTROPY_STEPS,
    PROBABILITY_STEPS,
    QUANTITIES,
    PanelModel,
)
from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx.window.settings import Remembered
from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.prevalence import Expected, check_prevalence
from stemctx_core.errors import InputError


def show(model: PanelModel, remembered: Remembered) -> None:
    """Fill the fields of what is imaged."""
    put(model.partial_frames, remembered.partial_frames)
    show_host(model, remembered.host)
    put(model.candidates, ", ".join(remembered.dopants))
    put(model.expected, str(remembered.expected))
    for name, entry in model.entered.items():
        value = remembered.user.get(name)
        put(entry, "" if value is None else f"{value:g}")
    for name, field in model.controls.items():
        put(field, ", ".join(getattr(remembered.controls, name)))


def show_rule(model: PanelModel, rule: ShownRule) -> None:
    """Fill the fields of what is shown."""
    put(model.probability, round(rule.probability * PROBABILITY_STEPS))
    limit = rule.entropy_nats
    put(model.entropy, ENTROPY_STEPS if limit is None else min(ENTROPY_STEPS, round(limit / ENTROPY_STEP_NATS)))
    for name, ticked in model.roles.items():
        put(ticked, Role[name] in rule.roles)
    _say_rule(model, rule)


def read(model: PanelModel, remembered: Remembered) -> Remembered:
    """What the fields say, with the rest as remembered.

    Raises
    ------
    InputError
        A host that is not known, an element that cannot be a candidate, or a number that is none.
    """
    host = (model.host.value or "").strip()
    dopants = _parts(model.candidates.value)
    expected = Expected.parse(model.expected.value or "")
    check_prevalence(expected.prevalence, classes.candidates(host, dopants))
    user = {}
    for name, label, unit in QUANTITIES:
        text = (model.entered[name].value or "").strip().replace(",", ".")
        if text:
            user[name] = _number(text, label, unit)
    names = {name: _parts(field.value) for name, field in model.controls.items()}
    return msgspec.structs.replace(
        remembered,
        host=host,
        dopants=dopants,
        expected=expected,
        partial_frames=bool(model.partial_frames.value),
        user=user,
        controls=ControlNames(**{name: said for name, said in names.items() if said}),
    )


def read_rule(model: PanelModel) -> ShownRule:
    """Which flags are to be shown, as sliders and classes say."""
    step = ENTROPY_STEPS if model.entropy.value is None else int(model.entropy.value)
    rule = ShownRule(
        probability=(model.probability.value or 0) / PROBABILITY_STEPS,
        entropy_nats=None if step >= ENTROPY_STEPS else round(step * ENTROPY_STEP_NATS, 6),
        roles=frozenset(Role[name] for name, ticked in model.roles.items() if ticked.value),
    )
    _say_rule(model, rule)
    return rule


def listen(model: PanelModel, edited: Callable[[], None], rule_edited: Callable[[], None]) -> None:
    """Have `edited` called whenever a field changes, and `rule_edited` where it says which flags are shown."""
    for field in _of_the_sample(model):
        field.on_value_changed = lambda _: edited()
    for field in _of_the_rule(model):
        field.on_value_changed = lambda _: rule_edited()
    model.host_index.on_value_changed = lambda index: _pick_host(model, index)
    model.element_index.on_value_changed = lambda index: _pick_element(model, index)


def unlisten(model: PanelModel) -> None:
    """Undo `listen`."""
    for field in (*_of_the_sample(model), *_of_the_rule(model), model.host_index, model.element_index):
        field.on_value_changed = None


def _of_the_sample(model: PanelModel) -> list[Any]:
    return [
        *(model.host, model.candidates, model.expected, model.partial_frames),
        *(*model.entered.values(), *model.controls.values()),
    ]


def _of_the_rule(model: PanelModel) -> list[Any]:
    return [model.probability, model.entropy, *model.roles.values()]


def _say_rule(model: PanelModel, rule: ShownRule) -> None:
    put(model.probability_text, f"at least {rule.probability:g}" if rule.probability else "any")
    put(model.entropy_text, "any" if rule.entropy_nats is None else f"at most {rule.entropy_nats:g} nats")


def show_host(model: PanelModel, host: str) -> None:
    """Show a host in the field and in the list beside it."""
    put(model.host, host)
    if host in model.hosts.value:
        put(model.host_index, model.hosts.value.index(host))


def _pick_host(model: PanelModel, index: int | None) -> None:
    if index is not None and 0 <= index < len(model.hosts.value):
        put(model.host, model.hosts.value[index])


def _pick_element(model: PanelModel, index: int | None) -> None:
    """Put an element among the candidates, or take it out where it is one."""
    if not index or index < 0:
        return
    picked, now = model.elements.value[index], _parts(model.candidates.value)
    put(model.element_index, 0)
    left = [element for element in now if element != picked]
    put(model.candidates, ", ".join(left if picked in now else [*now, picked]))


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple((text or "").replace(",", " ").split())


def _number(text: str, label: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{label}: '{text}' is not a positive number. Enter it in {unit}, or leave it empty.")
    return value
