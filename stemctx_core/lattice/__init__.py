"""From a frame to its site grid: every lattice site, vacant ones included, with its sublattice.

Bragg peaks (`reciprocal`), their phases through the frame (`phase`), the mean unit cell (`cell`), the names of the
sublattices (`naming`), and the sites (`grid`): looked for without knowing anything (`finding`), or followed from the
frame before (`tracking`). No intensity of a single column is looked for, so a vacancy is found as surely as an atom.
"""

from stemctx_core.lattice.finding import find_sites
from stemctx_core.lattice.grid import SiteGrid
from stemctx_core.lattice.tracking import track_sites

__all__ = ["SiteGrid", "find_sites", "track_sites"]
