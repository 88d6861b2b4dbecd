"""Sites in doubt: where each lies now, and what all views of it say together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from realtime.autonomy.policies.sites import (
    SAME_SITE_NM,
    Finding,
    finding,
    judged,
    probability_of,
    together,
)
from realtime.autonomy.views import SessionTarget, View, target_of
from stemctx_core.chemistry.classes import Role


@dataclass
class Suspect:
    """A site in doubt, with all evidence of it so far.

    Attributes
    ----------
    name
        For the record.
    target, view
        Where it was seen last.
    posterior
        Species to probability, by every view of it.
    looks
        How many views it was judged in.
    """

    name: str
    target: SessionTarget
    view: View
    posterior: dict[str, float]
    looks: int = 1

    def share(self, species: Collection[str]) -> float:
        """Probability that one of some species stands there."""
        return probability_of(self.posterior, species)

    def finding(self) -> Finding:
        """What is said of it in the end."""
        return finding(self.target, self.view, self.posterior, self.looks)

    def add(self, view: View, site: int, prevalence: dict[Role, float] | None) -> None:
        """Take the evidence of another view, in which it is this site."""
        now = target_of(view, site)
        self.posterior = together(self.posterior, now.posterior, view.result.candidates, prevalence)
        self.target, self.view = now, view
        self.looks += 1

    def evidence(self) -> dict[str, object]:
        """What a decision on it rests on, for the record."""
        return {
            "site": self.name,
            "view": self.view.key,
            "y_nm": self.target.y_nm,
            "x_nm": self.target.x_nm,
            "posterior": self.posterior,
            "looks": self.looks,
        }


def add_to_all(
    suspect: Suspect,
    others: Collection[Suspect],
    view: View,
    site: int,
    prevalence: dict[Role, float] | None,
) -> None:
    """Add what a view says of a suspect, and of others that were seen beside it and lie in the view too.

    Parameters
    ----------
    view, site
        The view, and the row in it that is the suspect.
    prevalence
        Prior that the judge uses, where it is not the default.
    """
    before, seen = suspect.target, suspect.view
    suspect.add(view, site, prevalence)
    sites = view.result.sites
    y, x = view.to_nm(sites.y_px, sites.x_px)
    dy, dx = suspect.target.y_nm - before.y_nm, suspect.target.x_nm - before.x_nm
    for other in others:
        if other.view is not seen:
            continue
        distance = np.hypot(y - other.target.y_nm - dy, x - other.target.x_nm - dx)
        row = int(distance.argmin())
        same = sites.sublattice[row] == seen.result.sites.sublattice[other.target.site]
        if same and distance[row] < SAME_SITE_NM and judged(view.result, row):
            other.add(view, row, prevalence)
