"""Whether a window can be opened."""

from __future__ import annotations

import ctypes.util
import os
import re
import socket
import sys
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.finding import Finding, ok, warning

TOPIC: Final = "display"
#: What Qt 6 loads under X11 and a desktop may lack.
_QT_NEEDS: Final = ("xcb-cursor", "xcb-icccm", "xcb-keysyms")
_WITHOUT: Final = "'stemctx live' needs none; for the window run on a desktop, or under xvfb-run."


def check() -> list[Finding]:
    """Whether there is a display, and on Linux the libraries that Qt needs for it."""
    if not sys.platform.startswith("linux"):
        return [ok(TOPIC, "the desktop of this computer")]
    display = os.environ.get("DISPLAY", "")
    if not display:
        return [warning(TOPIC, "there is none (DISPLAY is not set)", _WITHOUT)]
    if error := _refused(display):
        return [warning(TOPIC, f"the display {display} does not answer ({error})", _WITHOUT)]
    missing = [f"lib{name}" for name in _QT_NEEDS if ctypes.util.find_library(name) is None]
    if missing:
        return [
            warning(
                TOPIC,
                f"{display} answers, but Qt's libraries {', '.join(missing)} are missing",
                "Install them; on Debian and Ubuntu: apt install libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1.",
            )
        ]
    return [ok(TOPIC, f"{display} answers")]


def _refused(display: str) -> str:
    """Why no X server takes a connection; empty where one does."""
    matched = re.fullmatch(r"(?:unix)?(.*):(\d+)(?:\.\d+)?", display)
    if matched is None:
        return "it is no name of a display"
    host, number = matched[1], int(matched[2])
    path = f"/tmp/.X11-unix/X{number}"
    # A server that listens under an abstract name only has no file.
    places: list[tuple[int, Any]] = (
        [(socket.AF_INET, (host, 6000 + number))]
        if host
        else [(socket.AF_UNIX, path), (socket.AF_UNIX, "\0" + path)]
    )
    error = ""
    for family, address in places:
        with socket.socket(family) as asked:
            asked.settimeout(2.0)
            try:
                asked.connect(address)
            except OSError as refused:
                error = error or str(refused.strerror or refused)
            else:
                return ""
    return error
