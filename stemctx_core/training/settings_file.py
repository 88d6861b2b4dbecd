"""Settings of a training or of a tuning, read from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from stemctx_core.errors import InputError

Settings = TypeVar("Settings", bound=msgspec.Struct)


def read_settings(path: Path, kind: type[Settings], of: str, see: str) -> Settings:
    """Fields of a record; what the file leaves out has its default.

    Parameters
    ----------
    of, see
        What the settings are of, and where their fields stand, for the error.

    Raises
    ------
    InputError
        Where it cannot be read, or a field is unknown or out of range.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except OSError as error:
        raise InputError(f"The settings {path} cannot be read: {error.strerror}. Check the path.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"The settings {path} are not those of a {of}: {error}. {see}") from error
