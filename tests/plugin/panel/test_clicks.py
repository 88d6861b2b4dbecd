"""Clicks that the instrument refuses."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from nionswift_plugin.stemctx.panel.live_tab import LiveHandler
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from stemctx_core.errors import InputError


class Refusing:
    """An operator whose scan device does not do what it is asked for."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def start(self) -> None:
        raise self._error

    stop = freeze = stop_scripts = start

    def window_opened(self, window: Any) -> None:
        """No window is opened."""

    def window_closed(self, window: Any) -> None:
        """No window is closed."""


@pytest.mark.parametrize("button", ["start", "stop", "freeze", "stop_scripts"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("The scan is busy. Wait."), "The scan is busy. Wait."),
        (OSError("no answer"), "It failed: no answer"),
    ],
)
def test_what_the_instrument_refuses_is_told_and_does_not_escape(
    button: str, error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = PanelModel()
    handler = LiveHandler(model, Refusing(error))
    with caplog.at_level(logging.CRITICAL):
        getattr(handler, f"{button}_clicked")(None)
    assert model.reason.value == said
    handler.close()
