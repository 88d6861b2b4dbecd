"""What a response library is to hold: which columns at which energies and nodes, and the runs that this takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from stemctx_core.chemistry import columns
from stemctx_core.simulation.multislice import (
    MultisliceSettings,
    required_sampling_angstrom,
)
from stemctx_core.simulation.nodes import Node, relatives

#: Lateral displacements of the atoms of a pair, in whole pixels of the simulation grid.
PAIR_DISPLACEMENTS_PX: Final = (0, 1, 2, 3, 4, 5, 6, 8)
#: Columns recomputed on a finer grid for the convergence figure.
CONVERGENCE_COLUMNS: Final = ("W", "Mo", "V", "Se")
#: Sides of the grid to choose from; only small prime factors. The first suffices up to 140 kV.
GRID_POINTS: Final = (350, 400, 450, 500, 560, 640)
REFINE: Final = 1.6

#: Called with done, total and the name of what comes next.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Job:
    """One column to simulate: in focus with all displacements where it has no node, else at that node."""

    high_tension_kv: float
    column: str
    node: Node | None = None
    refine: float = 1.0

    @property
    def name(self) -> str:
        """For people."""
        what = f"{self.column} {self.high_tension_kv:g} kV"
        if self.refine != 1:
            return f"{what}, finer grid"
        return what if self.node is None else f"{what}, {self.node.title}"


def standard_nodes(high_tension_kv: float) -> tuple[Node, ...]:
    """Probes besides 30 mrad in focus that the shipped library holds at an energy."""
    if high_tension_kv not in (60.0, 80.0, 200.0):
        return (Node(25.0), Node(35.0))
    focused = [Node(c) for c in (20.0, 25.0, 35.0, 40.0)]
    defocused = [Node(c, d) for c in (25.0, 30.0, 35.0) for d in (2.0, 4.0, 6.0)]
    astigmatic = [Node(30.0, d, a) for d in (0.0, 4.0) for a in (2.0, 4.0)]
    return (*focused, *defocused, *astigmatic)


def nodes_around(
    convergences_mrad: tuple[float, ...], defoci_nm: tuple[float, ...], astigmatisms_nm: tuple[float, ...]
) -> tuple[Node, ...]:
    """Every defocus at every convergence, and every astigmatism at the first convergence and every defocus."""
    first = convergences_mrad[0]
    defoci = (0.0, *defoci_nm)
    found = {Node(c, d) for c in convergences_mrad for d in defoci} - {Node(first)}
    found |= {Node(first, d, a) for d in defoci for a in astigmatisms_nm}
    return tuple(sorted(found))


@dataclass(frozen=True)
class BuildPlan:
    """What to build.

    Attributes
    ----------
    high_tensions_kv
        Energies; one multislice run each.
    columns
        Column keys, see `stemctx_core.chemistry.columns`.
    convergence_semi_angle_mrad
        Of the probe in focus that is simulated with all displacements.
    nodes
        Other probes, for each energy; an energy that is not in it has none.
    """

    high_tensions_kv: tuple[float, ...] = (60.0, 80.0, 100.0, 120.0, 200.0, 300.0)
    columns: tuple[str, ...] = field(default_factory=columns.standard_columns)
    convergence_semi_angle_mrad: float = 30.0
    nodes: dict[float, tuple[Node, ...]] = field(default_factory=dict)

    def settings(self, high_tension_kv: float, refine: float = 1.0) -> MultisliceSettings:
        """Grid for an energy: fine enough for the outermost ring kept there."""
        outer = 250.0 if high_tension_kv < 150 else 235.0
        box = MultisliceSettings.box_angstrom
        needed = box / required_sampling_angstrom(high_tension_kv, outer)
        points = next(n for n in GRID_POINTS if n > needed)
        return MultisliceSettings(
            high_tension_kv=high_tension_kv,
            convergence_semi_angle_mrad=self.convergence_semi_angle_mrad,
            grid_points=int(round(points * refine / 10) * 10),
            outer_mrad=outer,
        )

    @property
    def focus(self) -> Node:
        """The probe in focus; pairs are simulated at it with the reduced set too."""
        return Node(self.convergence_semi_angle_mrad)

    def jobs(self) -> list[Job]:
        """Every run, in the order of what it adds to the library."""
        work = [Job(kv, column) for kv in self.high_tensions_kv for column in self.columns]
        work += [
            Job(kv, c, refine=REFINE)
            for kv in self.high_tensions_kv
            for c in CONVERGENCE_COLUMNS
            if c in self.columns
        ]
        for kv in self.high_tensions_kv:
            for node in self.nodes.get(kv, ()):
                work += [Job(kv, c, node) for c in self.columns if not relatives(c, node, self.columns)]
            if self.nodes.get(kv):
                work += [Job(kv, c, self.focus) for c in self.columns if columns.is_pair(c)]
        return work
