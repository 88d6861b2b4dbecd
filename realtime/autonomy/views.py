"""What a session hands out: views, targets in them, and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime.autonomy.microscope import Pair, ScannedFrame, ScanRequest
from realtime.autonomy.registration import Registration, SeenSites
from stemctx_core.chemistry.classes import Role
from stemctx_core.judging.verdict import site_prior
from stemctx_core.results import FrameResult


class View(msgspec.Struct, frozen=True):
    """A frame and what is said of it.

    Attributes
    ----------
    frame
        As it came; in a dry run all NaN.
    result
        What the judge said.
    request
        What was asked for, in the session's coordinates.
    key
        Stable name of the exposure.
    replayed
        Whether it comes from the record and nothing was exposed.
    site
        Row of the site that was zoomed on, where it was found again for sure.
    registration
        How it was found again, or why not.
    """

    frame: ScannedFrame
    result: FrameResult
    request: ScanRequest
    key: str
    replayed: bool = False
    site: int | None = None
    registration: Registration | None = None

    def to_nm(self, y_px: Any, x_px: Any) -> tuple[Any, Any]:
        """Scan coordinates (y, x; nm) of array-index coordinates; numbers or arrays."""
        return self.request.to_nm(y_px, x_px)

    def to_px(self, y_nm: Any, x_nm: Any) -> tuple[Any, Any]:
        """Array-index coordinates of scan coordinates (nm)."""
        return self.request.to_px(y_nm, x_nm)

    def row_ns(self, y_px: float) -> int:
        """When a row was scanned (`time.monotonic_ns`)."""
        part = (float(y_px) + 0.5) / self.request.shape[0]
        return int(self.frame.started_ns + part * (self.frame.ended_ns - self.frame.started_ns))

    @property
    def middle_ns(self) -> int:
        """When its middle was scanned; `sites` are as they stood then."""
        return (self.frame.started_ns + self.frame.ended_ns) // 2

    def sites(self, velocity_nm_per_s: Pair) -> SeenSites:
        """Every site, row by row as in the result, where it stood when the middle of the frame was scanned."""
        table, f = self.result.sites, self.frame
        positions = np.stack(self.to_nm(table.y_px, table.x_px), axis=1).astype(np.float64).reshape(-1, 2)
        part = (np.asarray(table.y_px, float) + 0.5) / self.request.shape[0] - 0.5
        late_s = part * (f.ended_ns - f.started_ns) * 1e-9
        positions -= late_s[:, None] * np.array(velocity_nm_per_s)
        prior = site_prior(self.result.candidates, table.sublattice)
        posterior: NDArray[np.float64] = table.posterior.astype(np.float64)
        return SeenSites(positions, table.sublattice, posterior, prior)

    def overlap(self, request: ScanRequest) -> float:
        """Part of a field's area that this view shows, rotation left out."""
        pairs = zip(
            self.request.centre_nm, self.request.extent_nm, request.centre_nm, request.extent_nm, strict=True
        )
        common = [max(0.0, min(c + e / 2, d + f / 2) - max(c - e / 2, d - f / 2)) for c, e, d, f in pairs]
        return common[0] * common[1] / (request.extent_nm[0] * request.extent_nm[1])


class SessionTarget(msgspec.Struct, frozen=True):
    """A site that may be acted on.

    Attributes
    ----------
    y_nm, x_nm
        Scan coordinates when it was seen.
    species, role, probability
        What stands there; probability of that species.
    posterior
        Species to probability.
    view
        Key of the view that it was seen in.
    seen_ns
        `time.monotonic_ns` when its row was scanned.
    site
        Row of the view's result.
    """

    y_nm: float
    x_nm: float
    species: str
    role: Role
    probability: float
    posterior: dict[str, float]
    view: str
    seen_ns: int
    site: int

    def evidence(self) -> dict[str, Any]:
        """What speaks for it, for the record."""
        return {
            "view": self.view,
            "site": self.site,
            "species": self.species,
            "probability": self.probability,
            "posterior": self.posterior,
            "seen_at_nm": [self.y_nm, self.x_nm],
        }


def target_of(view: View, site: int) -> SessionTarget:
    """A site of a view as a target, whatever stands there."""
    result = view.result
    y_px, x_px = float(result.sites.y_px[site]), float(result.sites.x_px[site])
    y_nm, x_nm = view.to_nm(y_px, x_px)
    row = result.sites.posterior[site]
    return SessionTarget(
        y_nm=float(y_nm),
        x_nm=float(x_nm),
        species=result.species(site),
        role=result.role(site),
        probability=float(result.sites.probability[site]),
        posterior={c.species: float(p) for c, p in zip(result.candidates, row, strict=True)},
        view=view.key,
        seen_ns=view.row_ns(y_px),
        site=site,
    )


class SessionEvent(msgspec.Struct, frozen=True):
    """What happened, for whoever shows it.

    Attributes
    ----------
    kind
        ``exposure``, ``replayed``, ``decision``, ``limit``, ``stopped``, ``dry run``.
    text
        In words.
    view
        Of an exposure.
    """

    kind: str
    text: str
    view: View | None = None


class Events:
    """Tells listeners; they are called on the session's thread."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[SessionEvent], None]] = []

    def listen(self, listener: Callable[[SessionEvent], None]) -> None:
        """Call the listener from now on."""
        self._listeners.append(listener)

    def fire(self, event: SessionEvent) -> None:
        """Tell everyone."""
        for listener in self._listeners:
            listener(event)
