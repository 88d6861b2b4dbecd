"""A run by itself, for the tests of the real window: an operator's first session, a result file, and the end.

Asked for by the environment: ``STEMCTX_DEMO`` names the file to write. ``STEMCTX_DEMO_STEPS`` names the steps to
take, all of `nionswift_plugin.stemctx.demo.steps.STEPS` without it; with ``watch`` alone nothing is started and the window is not closed.
Before the end of a step the file ``<STEMCTX_DEMO>.picture`` holds its name; the window stays as it is until somebody
has deleted that file, or for `PICTURE_S`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pathlib
import time
from typing import TYPE_CHECKING, Any, Final

from nionswift_plugin.stemctx.window import opening
from stemctx_core.whole_files import write_whole

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.plug_in import PlugIn

logger = logging.getLogger(__name__)

FILE: Final = "STEMCTX_DEMO"
STEPS: Final = "STEMCTX_DEMO_STEPS"
WATCH: Final = "watch"
PICTURE_S: Final = 20.0


def asked_to_start() -> bool:
    """Whether a run is asked for that starts scanning and flagging itself."""
    return bool(os.environ.get(FILE)) and os.environ.get(STEPS) != WATCH


def start_if_asked(plug_in: PlugIn, window: Any) -> None:
    """Start the run where the environment asks for it."""
    path = os.environ.get(FILE)
    if path:
        loop = window.event_loop
        loop.call_later(opening.SETTLE_S, lambda: loop.create_task(_run(plug_in, window, pathlib.Path(path))))


async def _run(plug_in: PlugIn, window: Any, path: pathlib.Path) -> None:
    said: dict[str, Any] = {"ok": False, "steps": {}}
    try:
        await _demonstrate(plug_in, window, path, said)
        said["ok"] = True
    except Exception as error:
        logger.exception("The demonstration failed")
        said["error"] = f"{type(error).__name__}: {error}"
    write_whole(path, json.dumps(said, indent=1))
    if asked_to_start():
        await _quit(plug_in, window)


async def _demonstrate(plug_in: PlugIn, window: Any, path: pathlib.Path, said: dict[str, Any]) -> None:
    # Needs the simulated microscope, which a column's Nion Swift need not have.
    from nionswift_plugin.stemctx.demo import steps
    from nionswift_plugin.stemctx.demo.stage import Stage

    if asked_to_start():
        await opening.open_live(plug_in, window)
    stage = Stage(plug_in, window)
    try:
        for name in (os.environ.get(STEPS) or ",".join(steps.STEPS)).split(","):
            begun = time.monotonic()
            stage.tally.step = name
            said["steps"][name] = await steps.STEPS["flags" if name == WATCH else name](stage)
            said["steps"][name]["seconds"] = round(time.monotonic() - begun, 1)
            await _picture(path, name)
    finally:
        stage.close()
        said |= stage.summary()


async def _picture(path: pathlib.Path, name: str) -> None:
    """Hold still until a picture was taken."""
    asking = path.with_name(path.name + ".picture")
    write_whole(asking, name)
    end = time.monotonic() + PICTURE_S
    while asking.exists() and time.monotonic() < end:
        await asyncio.sleep(0.1)
    asking.unlink(missing_ok=True)


async def _quit(plug_in: PlugIn, window: Any) -> None:
    plug_in.stop()
    scan = plug_in.scan
    if scan is not None:
        scan.abort_playing()
    await asyncio.sleep(1.0)
    window.queue_request_close()
