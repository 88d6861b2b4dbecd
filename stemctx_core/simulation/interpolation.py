"""Between the probes that a library holds: how much of each node a convergence, defocus and astigmatism takes.

Convergence is interpolated by the polynomial through its nodes, defocus and astigmatism by polynomials in their
squares, which a response is even in. The part that turns with the astigmatism (m = 2) is odd in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.simulation.nodes import Node

#: Superposition of columns fails for rings close to the bright-field disc.
INNER_MARGIN_MRAD: Final = 5.0


@dataclass(frozen=True)
class NodeGrid:
    """The nodes at one energy.

    Attributes
    ----------
    convergence_semi_angle_mrad
        Of the response in focus that all others are differences from.
    nodes
        Round probes, then astigmatic ones, in the order of their arrays.
    """

    convergence_semi_angle_mrad: float
    nodes: tuple[Node, ...]

    @cached_property
    def round(self) -> tuple[Node, ...]:
        """Nodes without astigmatism."""
        return tuple(n for n in self.nodes if not n.astigmatism_nm)

    @cached_property
    def astigmatic(self) -> tuple[Node, ...]:
        """Nodes with astigmatism, all at the same convergence."""
        return tuple(n for n in self.nodes if n.astigmatism_nm)

    @cached_property
    def convergences_mrad(self) -> tuple[float, ...]:
        """Convergences held in focus, rising."""
        return tuple(
            sorted(
                {self.convergence_semi_angle_mrad}
                | {n.convergence_semi_angle_mrad for n in self.round if not n.defocus_nm}
            )
        )

    @cached_property
    def defoci_nm(self) -> dict[float, tuple[float, ...]]:
        """Magnitudes of defocus, from 0, at each convergence that is held out of focus."""
        held: dict[float, set[float]] = {}
        for node in self.round:
            if node.defocus_nm and node.convergence_semi_angle_mrad in self.convergences_mrad:
                held.setdefault(node.convergence_semi_angle_mrad, {0.0}).add(node.defocus_nm)
        return {convergence: tuple(sorted(held[convergence])) for convergence in sorted(held)}

    def farthest_defocus_nm(self, convergence_semi_angle_mrad: float) -> float:
        """Largest magnitude of defocus at a convergence."""
        if convergence_semi_angle_mrad in self.defoci_nm:
            return self.defoci_nm[convergence_semi_angle_mrad][-1]
        return min((defoci[-1] for defoci in self.defoci_nm.values()), default=0.0)

    @cached_property
    def astigmatic_defoci_nm(self) -> tuple[float, ...]:
        """Magnitudes of defocus held with astigmatism."""
        return tuple(sorted({n.defocus_nm for n in self.astigmatic}))

    @cached_property
    def astigmatisms_nm(self) -> tuple[float, ...]:
        """Magnitudes of astigmatism held, from 0."""
        return tuple(sorted({0.0} | {n.astigmatism_nm for n in self.astigmatic}))

    def round_shares(
        self, convergence_semi_angle_mrad: float, defocus_nm: float, inner_mrad: float
    ) -> NDArray[np.float64]:
        """Factor of each round node's difference.

        A node whose bright-field disc comes close to the inner angle of the detector is left out, and what it held
        is extrapolated from the others by less than 5 mrad.
        """
        shares = np.zeros(len(self.round))
        place = {node: i for i, node in enumerate(self.round)}

        def add(convergence: float, defocus: float, share: float) -> None:
            if (i := place.get(Node(convergence, defocus))) is not None:
                shares[i] += share

        def usable(convergences: Sequence[float]) -> list[float]:
            clear = [c for c in convergences if c + INNER_MARGIN_MRAD <= inner_mrad + 1e-9]
            return clear or [min(convergences)]

        in_focus = usable(self.convergences_mrad)
        for convergence, share in zip(in_focus, _lagrange(in_focus, convergence_semi_angle_mrad), strict=True):
            add(convergence, 0.0, share)
        if defocus_nm:
            across = usable(tuple(self.defoci_nm))
            for convergence, share in zip(across, _lagrange(across, convergence_semi_angle_mrad), strict=True):
                defoci = self.defoci_nm[convergence]
                for defocus, factor in zip(defoci[1:], _even(defoci, defocus_nm)[1:], strict=True):
                    add(convergence, defocus, share * factor)
                    add(convergence, 0.0, -share * factor)
        return shares

    def astigmatic_shares(
        self, convergence_semi_angle_mrad: float, defocus_nm: float, astigmatism_nm: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor of each astigmatic node for m = 0 and for m = 2.

        At another convergence than the nodes' the aberrations count by the phase that they have at the edge of the
        aperture.
        """
        scale = self.phase_scale(convergence_semi_angle_mrad)
        defocus, astigmatism = defocus_nm * scale, astigmatism_nm * scale
        defoci, astigmatisms = self.astigmatic_defoci_nm, self.astigmatisms_nm
        even = np.outer(_even(defoci, defocus), _even(astigmatisms, astigmatism)[1:])
        odd = np.zeros_like(even)
        away = [d for d in defoci if d]  # in focus nothing turns
        if away:
            odd[-len(away) :] = np.outer(_odd(away, defocus), _odd(astigmatisms[1:], astigmatism))
        rows = [(defoci.index(n.defocus_nm), astigmatisms.index(n.astigmatism_nm) - 1) for n in self.astigmatic]
        at = tuple(np.array(rows).T)
        return even[at], odd[at]

    def phase_scale(self, convergence_semi_angle_mrad: float) -> float:
        """Phase at the edge of an aperture over that at the edge of the astigmatic nodes' own."""
        return (convergence_semi_angle_mrad / self.astigmatic[0].convergence_semi_angle_mrad) ** 2


def _lagrange(nodes: Sequence[float], at: float) -> NDArray[np.float64]:
    """Weights of the polynomial through all nodes."""
    x = np.array(nodes, float)
    apart = x[:, None] - x[None, :]
    np.fill_diagonal(apart, 1.0)
    factors = (at - x)[None, :] / apart
    np.fill_diagonal(factors, 1.0)
    weights: NDArray[np.float64] = factors.prod(axis=1)
    return weights


def _even(nodes: Sequence[float], at: float) -> NDArray[np.float64]:
    """Weights of the polynomial in the square."""
    return _lagrange(np.square(nodes).tolist(), at * at)


def _odd(nodes: Sequence[float], at: float) -> NDArray[np.float64]:
    """Weights of an odd polynomial."""
    weights: NDArray[np.float64] = _even(nodes, at) * at / np.array(nodes)
    return weights
