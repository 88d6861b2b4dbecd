"""Logs as lines of JSON, with session and frame; bounded on the disk, and written on a thread of their own."""

from __future__ import annotations

import copy
import json
import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from realtime.wire.messages import Request
from stemctx_core.errors import InputError

#: Environment variable that names the file.
LOG_VARIABLE: Final = "STEMCTX_LOG_JSON"
#: A file, and how many older ones are kept beside it as ``.1`` to ``.3``.
FILE_BYTES: Final = 16 * 1024 * 1024
OLDER_FILES: Final = 3
_MOST_WAITING: Final = 4096
_LOGGERS: Final = ("realtime", "stemctx_core")
_KEY: Final = "about"


def about(request: Request, **more: Any) -> dict[str, Any]:
    """What a log line says of the request it is about: the ``extra`` of a logging call."""
    said: dict[str, Any] = {"session": request.session.hex(), "request": request.id, **more}
    if (frame := getattr(request, "frame", None)) is not None:
        said |= {"scan_id": frame.scan_id, "frame_index": frame.frame_index, "valid_rows": frame.valid_rows}
    return {_KEY: said}


@contextmanager
def json_log(path: Path | None) -> Iterator[None]:
    """Write what this process logs to a file, one JSON object a line; do nothing where there is no path.

    A disk that is slow or full costs log lines, never frames: the next line that is written says how many.

    Raises
    ------
    InputError
        Where the file cannot be opened.
    """
    if path is None:
        yield
        return
    try:
        file = _BoundedFile(path)
    except OSError as error:
        raise InputError(f"The log {path} cannot be written: {error.strerror}. Choose another file.") from error
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_WAITING)
    handler = _Dropping(waiting, file)
    listener = QueueListener(waiting, file)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    listener.start()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        listener.stop()
        with suppress(OSError):  # what was buffered does not fit
            file.close()


class _BoundedFile(RotatingFileHandler):
    """A file that begins anew when it is full; a line that cannot be written is counted instead of told."""

    def __init__(self, path: Path) -> None:
        self.lost = 0
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "utc": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _KEY, {}),
        }
        if record.exc_text:
            line["traceback"] = record.exc_text
        if self.lost:
            line["lines_lost_before"] = self.lost
        return json.dumps(line, default=str)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self.lost += 1


class _Dropping(QueueHandler):
    """Leaves a record for the writing thread, or counts it as lost where too many wait."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord], file: _BoundedFile) -> None:
        super().__init__(waiting)
        self._file = file
        self._exceptions = logging.Formatter()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record = copy.copy(record)  # other handlers want it as it is
        if record.exc_info:
            record.exc_text = self._exceptions.formatException(record.exc_info)
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        return record

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self._file.lost += 1
