"""Nion Swift as a process of its own in a window on a virtual display, for tests that a scripted operator runs."""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(sys.prefix, "bin", "NionSwiftLauncher", "NionSwiftLauncher")
PROGRAMS = ("Xvfb", "openbox", "import", "convert", "wmctrl")
#: What the Qt that comes with Nion Swift needs beside what every desktop has.
LIBRARIES = ("xcb-icccm", "xcb-keysyms", "xcb-cursor", "xcb-image", "xcb-render-util", "xkbcommon-x11")
#: Folder for small screenshots; ``STEMCTX_SCREENSHOTS=docs/images`` renews those of the documentation.
SCREENSHOTS = "STEMCTX_SCREENSHOTS"
#: A cold cache of compiled loops makes the first start of the server slow, minutes on a busy machine.
LIMIT_S = 1500.0
_TITLE = "Nion Swift"
#: Ten levels of each colour: the noise of a scan is what fills a file.
_SMALL = ("-resize", "1200x", "+dither", "-posterize", "10", "-strip")
#: The picture of README and of the first page, which `make swift` opens.
_FIRST_PAGE = ("nion_swift.jpg", "-resize", "1100x", "-quality", "85", "-strip")


@dataclass
class Window:
    """Nion Swift while it runs.

    Attributes
    ----------
    display
        Name of the virtual display.
    folder
        Home folder and files of the run.
    process
        Nion Swift.
    keep
        How names of kept pictures begin; none are kept without it.
    """

    display: str
    folder: Path
    process: subprocess.Popen[bytes]
    keep: str = ""

    @property
    def log(self) -> str:
        """What Nion Swift has logged."""
        return (self.folder / "swift.log").read_text()

    def result(self) -> dict[str, Any]:
        """Take the pictures that the operator asks for until its result is there."""
        result, asking = self.folder / "said.json", self.folder / "said.json.picture"
        end = time.monotonic() + LIMIT_S
        while not result.exists() and self.process.poll() is None and time.monotonic() < end:
            if asking.exists():
                self._picture(asking.read_text())
                asking.unlink(missing_ok=True)
            time.sleep(0.2)
        assert result.exists(), self.log[-4000:]
        said: dict[str, Any] = json.loads(result.read_text())
        assert said["ok"], (said, self.log[-4000:])
        return said

    def close(self) -> None:
        """Close the window as a user does."""
        self._manage("-c", _TITLE)

    def wait(self) -> int:
        """Wait for the end of the process, and return its status."""
        return self.process.wait(300)

    def _picture(self, name: str) -> None:
        self._manage("-r", _TITLE, "-b", "add,maximized_vert,maximized_horz")
        time.sleep(3.0)  # Nion Swift draws in threads of its own
        path = self.folder / f"{name}.png"
        subprocess.run(["import", "-display", self.display, "-window", "root", path], check=True, timeout=300)
        folder = os.environ.get(SCREENSHOTS)
        if folder and self.keep:
            Path(folder).mkdir(parents=True, exist_ok=True)
            kept, *small = _FIRST_PAGE if name == "watch" else (f"{self.keep}_{name}.png", *_SMALL)
            subprocess.run(["convert", path, *small, Path(folder, kept)], check=True, timeout=300)

    def _manage(self, *command: str) -> None:
        environment = {**os.environ, "DISPLAY": self.display}
        subprocess.run(["wmctrl", *command], env=environment, check=True, timeout=30)


@contextlib.contextmanager
def nion_swift(
    folder: Path, *, application: str = "nionui_app.nionswift", steps: str = "", keep: str = ""
) -> Iterator[Window]:
    """Nion Swift with a home folder of its own and the scripted operator in it.

    Parameters
    ----------
    folder
        For everything that is written; Nion Swift finds its profile in ``home`` below it.
    application
        Module that Nion Swift's launcher is to load.
    steps
        As ``STEMCTX_DEMO_STEPS``.
    keep
        As `Window`.
    """
    _check()
    (folder / "home").mkdir(exist_ok=True)
    (folder / "runtime").mkdir(mode=0o700)
    with _display(folder) as display, (folder / "swift.log").open("w") as log:
        process = subprocess.Popen(
            [LAUNCHER, sys.prefix, application],
            env={
                **os.environ,
                "DISPLAY": display,
                "QT_QPA_PLATFORM": "xcb",
                "HOME": str(folder / "home"),
                "XDG_RUNTIME_DIR": str(folder / "runtime"),
                "LC_ALL": "C.UTF-8",
                "STEMCTX_DEMO": str(folder / "said.json"),
                "STEMCTX_DEMO_STEPS": steps,
            },
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            yield Window(display, folder, process, keep)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(60)


@contextlib.contextmanager
def _display(folder: Path) -> Iterator[str]:
    """A virtual display with a window manager."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    with (folder / "display.log").open("w") as log:
        server = subprocess.Popen(command, pass_fds=[writing], stdout=log, stderr=log)
        os.close(writing)
        with os.fdopen(reading) as number:
            name = f":{number.readline().strip()}"
        manager = subprocess.Popen(["openbox"], env={**os.environ, "DISPLAY": name}, stdout=log, stderr=log)
        try:
            yield name
        finally:
            for process in (manager, server):
                process.terminate()
                process.wait(60)


def _check() -> None:
    """Skip the test where a window cannot be opened, or fail it where one must be."""
    programs = [name for name in PROGRAMS if shutil.which(name) is None]
    libraries = [f"lib{name}" for name in LIBRARIES if ctypes.util.find_library(name) is None]
    launcher = [] if LAUNCHER.exists() else ["the launcher of nionswift-tool"]
    lacking = ", ".join([*programs, *libraries, *launcher])
    if lacking and "window" in os.environ.get("STEMCTX_REQUIRE", "").split():
        pytest.fail(f"STEMCTX_REQUIRE names 'window', but there is no {lacking}.")
    if lacking:
        pytest.skip(f"not installed: {lacking}")
