"""What the user or a thread asked for, done so that nothing escapes into the host: what goes wrong is said in words."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stemctx_core.errors import StemctxError

logger = logging.getLogger(__name__)


def guarded(what: str, act: Callable[[], None], say: Callable[[str], None]) -> None:
    """Do something.

    Parameters
    ----------
    what
        Begins the line in the log where it fails in a way that nobody foresaw.
    act
        What is done; it may raise anything.
    say
        Told what went wrong.
    """
    try:
        act()
    except StemctxError as error:
        say(str(error))
    except Exception as error:
        logger.exception("%s failed", what)
        say(f"It failed: {error}")
