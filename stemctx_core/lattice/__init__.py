"""From a frame to its site grid: every lattice site, vacant ones included, with its sublattice.

Bragg peaks (`reciprocal`), their phases through the frame (`phase`), the mean unit cell (`cell`), the names of the
sublattices (`naming`), and the sites (`grid`). No intensity of a single column is looked for, so a vacancy is found
as surely as an atom.
"""

from stemctx_core.lattice.grid import SiteGrid, find_sites

__all__ = ["SiteGrid", "find_sites"]
