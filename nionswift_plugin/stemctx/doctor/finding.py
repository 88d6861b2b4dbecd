"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: Live flagging works, though something is missing, slower or not as it should be.
    WARNING = "warning"
    #: Live flagging would not work, or would not be safe.
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    topic
        What was looked at.
    found
        What there is, in words.
    fix
        What to do, in one sentence; empty where nothing is to be done.
    """

    topic: str
    status: Status
    found: str
    fix: str = ""


def ok(topic: str, found: str) -> Finding:
    """Nothing to be done."""
    return Finding(topic, Status.OK, found)


def warning(topic: str, found: str, fix: str) -> Finding:
    """Live flagging works, but this should be known."""
    return Finding(topic, Status.WARNING, found, fix)


def trouble(topic: str, found: str, fix: str) -> Finding:
    """Live flagging would not work, or would not be safe."""
    return Finding(topic, Status.TROUBLE, found, fix)
