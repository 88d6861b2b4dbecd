"""What the panel remembers, as a small file beside Nion Swift's own configuration."""

from __future__ import annotations

import logging
import pathlib
from typing import Any, Final

import msgspec
from nion.swift.model import ApplicationData
from nion.utils import Event

from nionswift_plugin.stemctx.context.context_reader import ControlNames
from nionswift_plugin.stemctx.context.geometry import Geometry
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import LiveSettings
from stemctx_core.chemistry.prevalence import Expected

logger = logging.getLogger(__name__)

FILE_NAME = "stemctx.json"
_PROJECTS: Final = 200


class Sample(msgspec.Struct, frozen=True):
    """What a project is about: host, elements looked for on its metal site, and what is expected of it."""

    host: str
    dopants: tuple[str, ...]
    expected: Expected = Expected()


class Remembered(msgspec.Struct, frozen=True):
    """What is kept from one start of Nion Swift to the next.

    Unknown keys are passed over, so that an older version reads the file of a newer one. Host, candidates and what is
    expected are kept for every project too, by its identifier. The channel is known by its name, because instruments reorder channels;
    where the name is gone, it was renamed, and the index holds. `entered_for` says which detector and camera length the
    angles in `user` are those of. `address`, `key` and
    `server_key` (paths) lead to a server on another machine and are written into the file by hand.
    """

    host: str = "WSe2"
    dopants: tuple[str, ...] = ("V",)
    expected: Expected = Expected()
    channel_index: int = 0
    partial_frames: bool = True
    user: dict[str, float] = {}
    controls: ControlNames = ControlNames()
    entered_for: Geometry | None = None
    scan_device_id: str = ""
    channel_name: str = ""
    rule: ShownRule = ShownRule()
    projects: dict[str, Sample] = {}
    address: str = ""
    key: str = ""
    server_key: str = ""

    def of_project(self, project: str) -> Remembered:
        """With the sample as it was in a project, where it is known."""
        sample = self.projects.get(project)
        if sample is None:
            return self
        return msgspec.structs.replace(self, **msgspec.structs.asdict(sample))

    def for_project(self, project: str) -> Remembered:
        """With the sample kept for a project; projects that were kept long ago make room."""
        others = [(name, sample) for name, sample in self.projects.items() if name != project]
        kept = dict([*others[1 - _PROJECTS :], (project, Sample(self.host, self.dopants, self.expected))])
        return msgspec.structs.replace(self, projects=kept)

    @property
    def key_files(self) -> tuple[pathlib.Path, pathlib.Path] | None:
        """Key files for the server at `address`, or None."""
        return (pathlib.Path(self.key), pathlib.Path(self.server_key)) if self.key and self.server_key else None

    def live(self) -> LiveSettings:
        """As the live service takes them."""
        return LiveSettings(
            self.host,
            self.dopants,
            self.expected,
            self.channel_index,
            self.partial_frames,
            self.user,
            self.controls,
            self.entered_for,
        )


class SettingsFile:
    """Reads and writes `Remembered`; a damaged file is set aside by writing it anew, never a reason to fail.

    Parameters
    ----------
    directory
        Nion Swift's configuration folder; None keeps everything in memory.
    """

    def __init__(self, directory: pathlib.Path | None) -> None:
        self.folder = directory
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

    @property
    def folder(self) -> pathlib.Path | None:
        """Folder of the file, for what else is kept; None where everything is kept in memory."""
        return self._file.folder

    def change(self, now: Remembered) -> None:
        """Remember something else from now on."""
        if now != self.now:
            self.now = now
            self._file.write(now)
            self.changed.fire()
