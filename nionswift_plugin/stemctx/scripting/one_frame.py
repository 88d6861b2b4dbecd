"""One frame recorded by Nion's acquisition, to be stopped at any moment."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from nionswift_plugin.stemctx.scripting.abort import Abort
from stemctx_core.errors import InputError

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.005
END_S: Final = 10.0


def record_frame(scan: Any, parameters: Any, timeout_s: float, abort: Abort) -> list[Any]:
    """Record on a thread of its own, so that this one can be interrupted and can abort again and again.

    Parameters
    ----------
    scan
        Nion's scan hardware source.
    parameters
        Nion's frame parameters.
    timeout_s
        Then the scan is stopped.

    Returns
    -------
    list
        Of Nion's data, one for each channel; whatever came, where it was aborted.

    Raises
    ------
    InputError
        It did not end in time.
    """
    frames: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            frames.extend(scan.record_immediate(parameters, sync_timeout=timeout_s))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="stemctx-scan", daemon=True)
    thread.start()
    end = time.monotonic() + timeout_s
    try:
        while thread.is_alive():
            thread.join(_POLL_S)
            # An abort that came before the scan had begun found nothing to stop.
            if abort.is_set:
                abort_recording(scan)
            elif time.monotonic() > end:
                scan.abort_recording(sync_timeout=END_S)
                raise InputError(f"The scan did not end within {timeout_s:g} s; it was stopped.")
    except BaseException:
        abort.set()
        abort_recording(scan)
        thread.join(END_S)
        raise
    if errors and not abort.is_set:
        raise errors[0]
    return frames


def abort_recording(scan: Any) -> None:
    """Stop what is being recorded, without waiting for it; from any thread."""
    try:
        scan.abort_recording()
    except (AssertionError, KeyError):
        # Nion looks whether something is recorded and then takes it, and it may have ended in between.
        logger.debug("The scan had ended before it could be aborted", exc_info=True)
