"""What the panel remembers, as a small file beside Nion Swift's own configuration."""

from __future__ import annotations

import logging
import pathlib
from typing import Any

import msgspec
from nion.swift.model import ApplicationData
from nion.utils import Event

from nionswift_plugin.stemctx.context_reader import ControlNames
from nionswift_plugin.stemctx.status import LiveSettings

logger = logging.getLogger(__name__)

FILE_NAME = "stemctx.json"


class Remembered(msgspec.Struct, frozen=True):
    """What is kept from one start of Nion Swift to the next.

    Unknown keys are passed over, so that an older version reads the file of a newer one. `address`, `key` and
    `server_key` (paths) lead to a server on another machine and are written into the file by hand.
    """

    host: str = "WSe2"
    dopants: tuple[str, ...] = ("V",)
    channel_index: int = 0
    partial_frames: bool = False
    user: dict[str, float] = {}
    controls: ControlNames = ControlNames()
    scan_device_id: str = ""
    address: str = ""
    key: str = ""
    server_key: str = ""

    @property
    def key_files(self) -> tuple[pathlib.Path, pathlib.Path] | None:
        """Key files for the server at `address`, or None."""
        return (pathlib.Path(self.key), pathlib.Path(self.server_key)) if self.key and self.server_key else None

    def live(self) -> LiveSettings:
        """As the live service takes them."""
        return LiveSettings(
            self.host, self.dopants, self.channel_index, self.partial_frames, self.user, self.controls
        )


class SettingsFile:
    """Reads and writes `Remembered`; a damaged file is set aside by writing it anew, never a reason to fail.

    Parameters
    ----------
    directory
        Nion Swift's configuration folder; None keeps everything in memory.
    """

    def __init__(self, directory: pathlib.Path | None) -> None:
        self._path = directory / FILE_NAME if directory is not None else None
        self._data: Any = ApplicationData.ApplicationData(self._path)

    def read(self) -> Remembered:
        """What was remembered, or the defaults."""
        try:
            return msgspec.convert(self._data.get_data_dict(), Remembered)
        except (ValueError, OSError) as error:  # what msgspec and json raise are ValueErrors
            logger.warning(
                "The settings in %s cannot be read and are replaced by the defaults: %s", self._path, error
            )
            return Remembered()

    def write(self, remembered: Remembered) -> None:
        """Remember; where the folder cannot be written, say so in the log."""
        try:
            self._data.set_data_dict(msgspec.to_builtins(remembered))
        except OSError as error:
            logger.warning("The settings could not be written to %s: %s", self._path, error)


class Settings:
    """What is remembered now, in step with its file; only to be used on the window's thread.

    Attributes
    ----------
    now
        What is remembered.
    changed
        Event without arguments; `listen` returns a listener, to be kept and closed.

    Parameters
    ----------
    file
        Where it is kept.
    """

    def __init__(self, file: SettingsFile) -> None:
        self._file = file
        self.now = file.read()
        self.changed: Any = Event.Event()

    def change(self, now: Remembered) -> None:
        """Remember something else from now on."""
        if now != self.now:
            self.now = now
            self._file.write(now)
            self.changed.fire()
