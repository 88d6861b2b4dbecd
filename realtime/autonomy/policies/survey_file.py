"""Survey files: what `stemctx survey run` reads, as TOML in which every key is known."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from realtime.autonomy.limits import Limits
from realtime.autonomy.microscope import Pair
from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.confirm import Revisit
from stemctx_core.errors import InputError

#: A survey file is a page of text. Reading a name of many dotted parts takes the square of its length in memory.
_LARGEST_BYTES: Final = 16_384


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The simulated microscope and its specimen; table ``[microscope]``.

    Attributes
    ----------
    host, dopant, specimen_seed
        The specimen; an empty dopant is none.
    dopant_fraction
        Share of the metal sites that hold the dopant.
    high_tension_kv, haadf_mrad, probe_current_pa, drift_nm_per_s, noise_seed
        As in `sim.instrument.MicroscopeSettings`.
    """

    host: str = "WSe2"
    dopant: str = "V"
    dopant_fraction: float = 0.01
    specimen_seed: int = 0
    high_tension_kv: float = 80.0
    haadf_mrad: Pair = (70.0, 200.0)
    probe_current_pa: float = 50.0
    drift_nm_per_s: Pair = (0.0012, -0.0016)
    noise_seed: int = 0


class SurveyPolicy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="survey", tag_field="kind"
):
    """``kind = "survey"``: every field once; `realtime.autonomy.policies.survey_grid`."""

    area: Area
    scan: FieldScan
    species: tuple[str, ...] = ()
    sure: float = 0.9
    shuffle_seed: int | None = None


class ConfirmPolicy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="confirm", tag_field="kind"
):
    """``kind = "confirm"``: doubtful sites again, with more dose; `realtime.autonomy.policies.confirm`."""

    area: Area
    scan: FieldScan
    species: tuple[str, ...]
    revisit: Revisit = Revisit()
    sure: float = 0.99
    excluded: float = 0.01


class PrecisePolicy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="until_precise", tag_field="kind"
):
    """``kind = "until_precise"``: until an interval is narrow; `realtime.autonomy.policies.until_precise`."""

    area: Area
    scan: FieldScan
    species: tuple[str, ...]
    relative: float = 0.2
    confidence: float = 0.95
    sure: float = 0.9
    fewest_fields: int = 3
    shuffle_seed: int = 0


class FollowPolicy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="follow", tag_field="kind"
):
    """``kind = "follow"``: the surest target of a first field, again and again; `realtime.autonomy.policies.follow`.

    Attributes
    ----------
    scan
        Of the first field.
    close
        Of every look at the target.
    """

    scan: FieldScan
    close: FieldScan
    species: tuple[str, ...] = ()
    centre_nm: Pair = (0.0, 0.0)
    times: int = 10
    every_s: float = 0.0


class WatchPolicy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="watch", tag_field="kind"
):
    """``kind = "watch"``: one field until it changes; `realtime.autonomy.policies.watch`."""

    scan: FieldScan
    centre_nm: Pair = (0.0, 0.0)
    frames: int = 20
    changes: int = 1
    after: tuple[str, ...] | None = None
    every_s: float = 0.0


Policy = SurveyPolicy | ConfirmPolicy | PrecisePolicy | FollowPolicy | WatchPolicy
KINDS: Final = ("survey", "confirm", "until_precise", "follow", "watch")


class SurveyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole survey file.

    Attributes
    ----------
    policy
        What is done; table ``[policy]`` with its ``kind``.
    microscope, limits
        With what, and within which limits.
    """

    policy: Policy
    microscope: Column = Column()
    limits: Limits = Limits()


def read_survey_file(path: Path) -> SurveyFile:
    """Read a survey file.

    Raises
    ------
    InputError
        What is wrong with it, and in which table.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InputError(f"{path} is larger than {_LARGEST_BYTES} bytes. Is it a survey file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The survey file {path} cannot be read: {error}. Give the path of a TOML file."
        ) from None
    try:
        return parse_survey(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_survey(text: str) -> SurveyFile:
    """Read the text of a survey file; `InputError` says what is wrong and in which table."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"This is not TOML: {error}.") from None
    try:
        return msgspec.convert(values, SurveyFile)
    except msgspec.ValidationError as error:
        raise InputError(_in_words(str(error))) from None


def _in_words(message: str) -> str:
    """Name the table, and the key that was probably meant."""
    words = message.split(" - at ")[0]
    unknown = re.search(r"unknown field `(.+?)`", message)
    if unknown is None:
        kinds = f" The kinds are {', '.join(KINDS)}." if ".kind" in message else ""
        return f"{_place(message)}{words}.{kinds}"
    key = unknown[1]
    known = _known_keys()
    near = [k for k in known if k.startswith(key)] or difflib.get_close_matches(key, known, n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    return f"{_place(message)}there is no key '{key}' here.{meant}"


def _place(message: str) -> str:
    """Name the table of a message of msgspec, from its ``$.policy.scan``."""
    found = re.search(r"at `(?:key in )?\$\.?([^`]*)`", message)
    return f"[{found[1]}]: " if found and found[1] else ""


def _known_keys() -> list[str]:
    structs: tuple[Any, ...] = (
        SurveyFile, Column, Limits, Area, FieldScan, Revisit,
        SurveyPolicy, ConfirmPolicy, PrecisePolicy, FollowPolicy, WatchPolicy,
    )  # fmt: skip
    return sorted({name for struct in structs for name in struct.__struct_fields__} | {"kind"})
