"""A plug-in that Nion Swift has loaded at most once, from its load to its unload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar


class Loadable(Protocol):
    """What a plug-in does when Nion Swift asks for it."""

    def attach(self) -> None:
        """Begin, when all plug-ins are loaded."""

    def close(self) -> None:
        """Leave nothing behind."""


P = TypeVar("P", bound=Loadable)


class Loaded(Generic[P]):
    """The one object of a plug-in in this process.

    Parameters
    ----------
    make
        Makes it of Nion Swift's plug-in interface.
    """

    def __init__(self, make: Callable[[Any], P]) -> None:
        self._make = make
        self._plug_in: P | None = None

    def open(self, api: Any) -> P:
        """Load the plug-in into Nion Swift."""
        self._plug_in = self._make(api)
        return self._plug_in

    def attach(self) -> None:
        """Have it begin."""
        if self._plug_in is not None:
            self._plug_in.attach()

    def close(self) -> None:
        """Take the plug-in out of Nion Swift."""
        plug_in, self._plug_in = self._plug_in, None
        if plug_in is not None:
            plug_in.close()

    def current(self) -> P | None:
        """The plug-in that is loaded, for scripts run inside Nion Swift."""
        return self._plug_in
