"""Plans that this user built here, kept for the next start.

A plan is executable content: it is read only from a folder that nobody else can write to, from a plain file of this
user whose hash is the recorded one. Everything else is built again. There is no way to name a plan from outside.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Final

import msgspec

from stemctx_core.errors import StemctxError
from stemctx_core.whole_files import write_whole

logger = logging.getLogger(__name__)

#: Plans kept; the oldest go first.
MOST_PLANS: Final = 32
_LARGEST_RECORD_BYTES: Final = 100_000
_LARGEST_PLAN_BYTES: Final = 500_000_000
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class PlanCacheError(StemctxError):
    """The folder of plans is open to others, or cannot be used."""


class PlanKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan was built from and for; another value of any means another plan.

    Attributes
    ----------
    onnx_sha256
        Hash of the graph.
    package, version
        Of TensorRT.
    target
        Name, compute capability and CUDA version of the GPU and its driver; for a plan of TensorRT-RTX the compute
        capabilities that it was compiled for.
    profile
        Ranges of the free axes, and options of building.
    content
        ``plan``, or ``kernels`` of TensorRT-RTX that were compiled when it ran.
    """

    onnx_sha256: str
    package: str
    version: str
    target: tuple[str, ...]
    profile: str
    content: str = "plan"

    @property
    def name(self) -> str:
        """Under which it is kept."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:32]


class PlanRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written beside a plan.

    Attributes
    ----------
    sha256, size_bytes
        Of the plan.
    built_utc
        ISO 8601.
    """

    key: PlanKey
    sha256: str
    size_bytes: int
    built_utc: str


def plans_folder() -> Path:
    """Where plans of this user are kept: below the user's folder of caches."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stemctx" / "plans"


class PlanCache:
    """A folder of plans, checked at every opening.

    Parameters
    ----------
    folder
        `plans_folder` by default; made where it is missing.

    Raises
    ------
    PlanCacheError
        Where another user could write to it, or it cannot be made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or plans_folder()
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if not self.folder.is_symlink():
                self.folder.mkdir(mode=0o700, exist_ok=True)
            check_private(self.folder)
        except OSError as error:
            raise PlanCacheError(
                f"The folder of plans {self.folder} cannot be used ({error}). Make it yours, or remove what is there."
            ) from error

    def get(self, key: PlanKey) -> bytes | None:
        """The plan, or None where it has to be built: not there, damaged, or not written by this user."""
        path = self._path(key)
        try:
            record = self._record(path.with_suffix(".json"))
            if record.key != key:
                raise ValueError("its record speaks of another")
            content = _read_own(path, _LARGEST_PLAN_BYTES)
            if hashlib.sha256(content).hexdigest() != record.sha256:
                raise ValueError("its hash is not the recorded one")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("the plan %s is not used, and built again: %s", path.name, error)
            return None
        return content

    def put(self, key: PlanKey, content: bytes) -> PlanRecord:
        """Keep a plan that was built just now."""
        digest = hashlib.sha256(content).hexdigest()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = PlanRecord(key, digest, len(content), now)
        path = self._path(key)
        write_whole(path, content)
        write_whole(path.with_suffix(".json"), msgspec.json.encode(record))
        for old in self.records()[MOST_PLANS:]:
            self._path(old.key).unlink(missing_ok=True)
            self._path(old.key).with_suffix(".json").unlink(missing_ok=True)
        return record

    def records(self) -> list[PlanRecord]:
        """What is kept, the newest first."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                found.append(self._record(path))
            except (OSError, ValueError) as error:
                logger.warning("the record %s is not one: %s", path.name, error)
        return sorted(found, key=lambda r: (r.built_utc, r.key.name), reverse=True)

    def _path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.name}.plan"

    def _record(self, path: Path) -> PlanRecord:
        # A decoding error of msgspec is a ValueError.
        return msgspec.json.decode(_read_own(path, _LARGEST_RECORD_BYTES), type=PlanRecord)


def check_private(folder: Path) -> None:
    """Refuse a folder that another user could write to, or could swap for another.

    On Windows nothing is checked: the user's profile is protected by its access list.

    Raises
    ------
    PlanCacheError
        With what to do.
    OSError
        Where it cannot be looked at.
    """
    if os.name == "nt":
        return
    found = folder.lstat()
    user = os.geteuid()
    if not stat.S_ISDIR(found.st_mode):
        raise PlanCacheError(f"{folder} is not a folder (a link will not do). Remove it.")
    if found.st_uid != user:
        raise PlanCacheError(f"The folder of plans {folder} belongs to another user. Remove it.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PlanCacheError(
            f"The folder of plans {folder} is open to other users (mode {stat.S_IMODE(found.st_mode):03o}). "
            f"Empty it, then run: chmod 700 {folder}"
        )
    for above in folder.resolve().parents:
        parent = above.stat()
        swappable = parent.st_mode & _WRITABLE_BY_OTHERS and not parent.st_mode & stat.S_ISVTX
        if swappable or parent.st_uid not in (0, user):
            raise PlanCacheError(
                f"The folder of plans {folder} is not safe: other users can write to {above}. "
                f"Run: chmod go-w {above}"
            )


def _read_own(path: Path, most_bytes: int) -> bytes:
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    with open(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a plain file")
        if os.name != "nt" and (found.st_uid != os.geteuid() or found.st_mode & _WRITABLE_BY_OTHERS):
            raise ValueError("another user can write to it")
        if found.st_size > most_bytes:
            raise ValueError("it is too large")
        return file.read()
