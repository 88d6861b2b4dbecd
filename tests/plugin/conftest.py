"""What the tests of this room share: an inference server in a process of its own, and a window that flags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nionswift_plugin.stemctx.overlay.composite import GRAPHIC_ID
from realtime.client.supervisor import LocalServer
from tests.plugin.swift import Swift, loaded, swift


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    with LocalServer() as server:
        yield server.address


@pytest.fixture
def ready(tmp_path: Path, server_address: str) -> Iterator[tuple[Swift, Any]]:
    """The plug-in in a window, not started yet."""
    with swift(tmp_path) as s, loaded() as plug_in:
        s.scan.set_current_frame_parameters(s.scan.get_frame_parameters(1))
        plug_in.remembered = msgspec.structs.replace(plug_in.remembered, address=server_address)
        plug_in.window_opened(s.window)
        yield s, plug_in
        plug_in.stop()
        s.scan.abort_playing(sync_timeout=60.0)
        s.window.periodic()


@pytest.fixture
def live(ready: tuple[Swift, Any]) -> tuple[Swift, Any]:
    """Flags on the live image."""
    s, plug_in = ready
    plug_in.start()
    s.pump(lambda: any(g.graphic_id == GRAPHIC_ID and g.drawn for g in _graphics(s)))
    return ready


def _graphics(s: Swift) -> list[Any]:
    display = s.live_display()
    return [] if display is None else list(display.graphics)
