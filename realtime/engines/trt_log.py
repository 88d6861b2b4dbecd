"""What TensorRT says, in our log and in our errors: left alone it writes to standard output, where READY is told."""

from __future__ import annotations

import logging
from typing import Any, Final

logger = logging.getLogger(__name__)

_MOST_KEPT: Final = 3


def new_logger(trt: Any) -> Any:
    """Make an ``ILogger``; its `errors` are the last that were told. It has to outlive what it is given to."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """Passes on from warnings upwards."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Take a message of any of TensorRT's threads."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors = [*self.errors, message.strip()][-_MOST_KEPT:]
                logger.warning("TensorRT: %s", message)
            elif severity == trt.ILogger.WARNING:
                logger.info("TensorRT: %s", message)

    return Log()
