"""What stands at each of many sites, from a candidate list and an index into it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate


class SiteLabels:
    """Role and species of sites; a record with these two fields inherits it.

    Attributes
    ----------
    column_index
        (n,) int64 row of `candidates`.
    candidates
        What can stand at a site.
    """

    column_index: NDArray[np.int64]
    candidates: tuple[Candidate, ...]

    def __len__(self) -> int:
        return len(self.column_index)

    @property
    def is_defect(self) -> NDArray[np.bool_]:
        """(n,) whether anything but the host's own column stands there."""
        return np.array([c.is_defect for c in self.candidates])[self.column_index]

    @property
    def species(self) -> NDArray[np.str_]:
        """(n,) species of each site."""
        return np.array([c.species for c in self.candidates])[self.column_index]

    @property
    def role(self) -> NDArray[np.str_]:
        """(n,) role of each site."""
        return np.array([c.role.value for c in self.candidates])[self.column_index]
