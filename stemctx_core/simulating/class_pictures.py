"""The picture of every class, for two hosts and two detectors."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.classes import HOST_ROLES, Candidate, Role
from stemctx_core.dataset.sites import honeycomb
from stemctx_core.look.pictures import ROLE_STYLE
from stemctx_core.simulating.panels import panel_grid, scale_bar, show, wrapped
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.relaxation import relaxation_angstrom
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

HOSTS: Final = ("WSe2", "MoS2")
DETECTORS_MRAD: Final = ((70.0, 200.0), (50.0, 120.0))
_KV: Final = 80.0
_DOSE: Final = 1e5
_PX: Final = 0.2
_PATCH_PX: Final = 72


def _class_candidates(host: str) -> list[Candidate]:
    """One candidate of each role: vanadium for the dopant, the next heavier chalcogen for the substitute."""
    other = {"S": "Se", "Se": "Te"}[materials.host(host).chalcogen]
    listed = classes.candidates(host, ("V",), (other,), antisites=True, complexes=True)
    by_role: dict[Role, Candidate] = {}
    for candidate in listed:
        by_role.setdefault(candidate.role, candidate)
    return [by_role[role] for role in Role]


def classes_picture(library: ResponseLibrary) -> Figure:
    """Every class, relaxed, for two hosts and two detectors; contrast is the same along a row."""
    roles = list(Role)
    figure, axes = panel_grid(2 * len(HOSTS), len(roles), 1.12, top=0.62, left=0.62)
    for row in range(2 * len(HOSTS)):
        host, detector = HOSTS[row // 2], DETECTORS_MRAD[row % 2]
        listed = _class_candidates(host)
        patches = [_class_patch(library, host, listed, c, detector) for c in listed]
        top = 1.25 * float(np.percentile(patches[0], 99.5))
        for k, (candidate, patch) in enumerate(zip(listed, patches, strict=True)):
            ax = axes[row][k]
            show(ax, patch, 0.0, top)
            middle = (patch.shape[0] - 1) / 2
            if candidate.role not in HOST_ROLES:
                colour = ROLE_STYLE[candidate.role][0]
                ax.plot(middle, middle, "o", ms=21, mfc="none", mec=colour, mew=1.0)
            ax.set_xlabel(candidate.species.replace("vac_", "vac "), fontsize=6.5, labelpad=1)
            if row == 0:
                name = "host metal" if candidate.role is Role.METAL else "host pair"
                ax.set_title(wrapped(ROLE_STYLE.get(candidate.role, ("", "", name))[2]), fontsize=7, pad=3)
        axes[row][0].set_ylabel(f"{host}\n{detector[0]:g}-{detector[1]:g} mrad", fontsize=7.5)
        scale_bar(axes[row][0], 5.0, "5 Å")
    figure.suptitle(
        f"Every class at {_KV:g} kV, 30 mrad, 10⁵ e/Å², neighbours relaxed; black is no electron, the contrast is the same along a row",
        fontsize=9,
    )
    return figure


def _class_patch(
    library: ResponseLibrary,
    host_name: str,
    listed: list[Candidate],
    candidate: Candidate,
    detector: tuple[float, float],
) -> NDArray[np.float32]:
    host, extent = materials.host(host_name), (_PATCH_PX * _PX,) * 2
    sites = honeycomb(host.a_angstrom, 0.0, (0.0, 0.0), extent)
    middle = (_PATCH_PX - 1) / 2 * _PX
    own = 0 if candidate.sublattice is classes.Sublattice.METAL else 1
    away = np.hypot(*(sites.positions_angstrom - middle).T) + np.where(sites.sublattice == own, 0, 1e3)
    centre = int(away.argmin())
    ideal = sites.positions_angstrom - sites.positions_angstrom[centre] + middle
    roles = [c.role for c in listed]
    hosts = (roles.index(Role.METAL), roles.index(Role.CHALCOGEN_PAIR))
    column = np.where(sites.sublattice == 0, *hosts).astype(np.int64)
    column[centre] = listed.index(candidate)
    if candidate.vacancy_beside:
        from_centre = np.hypot(*(ideal - middle).T)
        from_centre[centre] = np.inf
        column[from_centre.argmin()] = roles.index(Role.CHALCOGEN_VACANCY)
    moved = ideal + relaxation_angstrom(ideal, column, tuple(listed), host_name, np.random.default_rng(1))
    tables = response_tables(library, [c.column for c in listed], Optics(_KV, 30.0, *detector, 0.4))
    image = render_columns((_PATCH_PX, _PATCH_PX), _PX, moved / _PX, column, tables)
    return count_electrons(image, _DOSE, _PX, np.random.default_rng(len(candidate.species)))
