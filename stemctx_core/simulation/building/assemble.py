"""From finished columns to the two files of a library."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.chemistry.columns import relative_motion_angstrom
from stemctx_core.simulation.building.parts import Parts
from stemctx_core.simulation.building.plan import (
    CONVERGENCE_COLUMNS,
    PAIR_DISPLACEMENTS_PX,
    REFINE,
    BuildPlan,
)
from stemctx_core.simulation.finished import load_part
from stemctx_core.simulation.multislice import RING_MRAD, MultisliceSettings, probe_radii_angstrom
from stemctx_core.simulation.nodes import Node, pair_displacement_px, relatives
from stemctx_core.simulation.storage import pack, write_library

Array = NDArray[np.floating[Any]]


def assemble(plan: BuildPlan, output: Path, parts: Parts) -> dict[str, object]:
    """Write a library of finished columns.

    Returns
    -------
    dict
        The provenance.
    """
    inner = plan.settings(plan.high_tensions_kv[0]).inner_mrad
    singles = [c for c in plan.columns if not columns.is_pair(c)]
    pairs = [c for c in plan.columns if columns.is_pair(c)]
    arrays: dict[str, NDArray[np.generic]] = {"radii_angstrom": probe_radii_angstrom()}
    nodes: dict[str, list[list[float]]] = {}
    for kv in plan.high_tensions_kv:
        arrays |= _in_focus(plan, kv, parts, singles, pairs)
        held = sorted(plan.nodes.get(kv, ()), key=lambda n: (bool(n.astigmatism_nm), n))
        nodes[f"{kv:g}"] = [[n.convergence_semi_angle_mrad, n.defocus_nm, n.astigmatism_nm] for n in held]
        arrays |= _at_nodes(plan, kv, parts, [*singles, *pairs], held)
    each = {f"{kv:g}": plan.settings(kv) for kv in plan.high_tensions_kv}
    provenance: dict[str, object] = {
        "what": "fraction of the beam scattered into 5 mrad rings, by column and distance of the probe from it",
        "high_tensions_kv": list(plan.high_tensions_kv),
        "convergence_semi_angle_mrad": plan.convergence_semi_angle_mrad,
        "nodes": nodes,
        "nodes_are": "convergence semi-angle (mrad), defocus (nm), twofold astigmatism (nm)",
        "singles": singles,
        "pairs": pairs,
        "ring_inner_mrad": inner,
        "ring_width_mrad": RING_MRAD,
        "ring_outer_mrad": {kv: s.outer_mrad for kv, s in each.items()},
        "sampling_angstrom": {kv: s.sampling_angstrom for kv, s in each.items()},
        "pair_displacements_angstrom": {
            kv: [k * s.sampling_angstrom for k in PAIR_DISPLACEMENTS_PX] for kv, s in each.items()
        },
        "box_angstrom": next(iter(each.values())).box_angstrom,
        "slices": "one an atomic plane, as thick as the planes are apart",
        "thermal_rms_angstrom": columns.THERMAL_RMS_ANGSTROM,
        "chalcogen_separation_angstrom": columns.CHALCOGEN_SEPARATION_ANGSTROM,
        "versions": {name: importlib.metadata.version(name) for name in ("abtem", "ase", "numpy")},
        "convergence": _convergence(plan, parts),
    }
    write_library(output, arrays, provenance)
    return provenance


def _in_focus(
    plan: BuildPlan, kv: float, parts: Parts, singles: list[str], pairs: list[str]
) -> dict[str, NDArray[np.generic]]:
    settings = plan.settings(kv)
    shape = (len(probe_radii_angstrom()), round((settings.outer_mrad - settings.inner_mrad) / RING_MRAD))
    single_table = np.zeros((len(singles), *shape), np.float32)
    pair_table = np.zeros((len(pairs), len(PAIR_DISPLACEMENTS_PX), *shape), np.float32)
    for place, column in enumerate(singles):
        single_table[place] = load_part(parts.full(column, settings))[0]
    for place, column in enumerate(pairs):
        pair_table[place] = load_part(parts.full(column, settings))
    return {f"singles_{kv:g}": single_table, f"pairs_{kv:g}": pair_table}


def _at_nodes(
    plan: BuildPlan, kv: float, parts: Parts, keys: list[str], nodes: list[Node]
) -> dict[str, NDArray[np.generic]]:
    """Differences from the response in focus; of an astigmatic node, from the round one of the same defocus."""
    arrays: dict[str, NDArray[np.generic]] = {}
    rounds = [n for n in nodes if not n.astigmatism_nm]
    if rounds:
        differences = np.stack([_all_columns(plan, kv, parts, keys, n, _round) for n in rounds])
        arrays[f"nodes_{kv:g}"], arrays[f"node_steps_{kv:g}"] = pack(differences)
    turning = [n for n in nodes if n.astigmatism_nm]
    if turning:
        added = np.stack([_all_columns(plan, kv, parts, keys, n, _astigmatic) for n in turning])
        arrays[f"astigmatic_{kv:g}"], arrays[f"astigmatic_steps_{kv:g}"] = pack(added.swapaxes(1, 2))
    return arrays


def _all_columns(
    plan: BuildPlan,
    kv: float,
    parts: Parts,
    keys: list[str],
    node: Node,
    difference: Callable[[BuildPlan, float, Parts, str, Node], Array],
) -> Array:
    """(columns, ...) differences at a node.

    A column that is not simulated there has its relatives' differences, each as a share of what it has on the column
    in focus, ring by ring.
    """
    own: dict[str, Array] = {}
    stand_ins: dict[str, dict[str, float]] = {}
    for key in keys:
        stand_ins[key] = relatives(key, node, plan.columns)
        if not stand_ins[key]:
            own[key] = difference(plan, kv, parts, key, node)

    def peak(key: str) -> Array:
        on_column: Array = thermal_mean(key, _reduced(plan, kv, parts, key, plan.focus), plan.settings(kv))[
            0, 0
        ]
        return on_column

    for key, shares in stand_ins.items():
        if shares:
            own[key] = peak(key) * sum(share * own[like] / peak(like) for like, share in shares.items())
    return np.stack([own[key] for key in keys])


def _reduced(plan: BuildPlan, kv: float, parts: Parts, column: str, node: Node) -> Array:
    """(harmonics, displacements, radii, rings) of a node; of a single atom in focus what the full set holds."""
    settings = plan.settings(kv)
    if node == plan.focus and not columns.is_pair(column):
        return load_part(parts.full(column, settings))[None].astype(np.float64)
    return load_part(parts.node(column, settings, node)).astype(np.float64)


def thermal_mean(column: str, reduced: Array, settings: MultisliceSettings) -> Array:
    """(harmonics, radii, rings): displacements weighted so that the mean square is the thermal one, 2σ²."""
    if reduced.shape[1] == 1:
        return reduced[:, 0]
    apart = pair_displacement_px(settings) * settings.sampling_angstrom
    share = 2 * relative_motion_angstrom(column) ** 2 / apart**2
    mean: Array = (1 - share) * reduced[:, 0] + share * reduced[:, 1]
    return mean


def _round(plan: BuildPlan, kv: float, parts: Parts, column: str, node: Node) -> Array:
    """(radii, rings)."""
    change = _reduced(plan, kv, parts, column, node) - _reduced(plan, kv, parts, column, plan.focus)
    difference: Array = thermal_mean(column, change, plan.settings(kv))[0]
    return difference


def _astigmatic(plan: BuildPlan, kv: float, parts: Parts, column: str, node: Node) -> Array:
    """(2, radii, rings) of m = 0 and m = 2, atoms of a pair at rest."""
    found = _reduced(plan, kv, parts, column, node)[:, 0]
    plain = Node(node.convergence_semi_angle_mrad, node.defocus_nm)
    added = found[0] - _reduced(plan, kv, parts, column, plain)[0, 0]
    return np.stack([added, found[1] if len(found) > 1 else np.zeros_like(added)])


def _convergence(plan: BuildPlan, parts: Parts) -> dict[str, object]:
    """Change of the peak in MAADF and HAADF when the grid is refined, in percent."""
    figures: dict[str, float] = {}
    for kv in plan.high_tensions_kv:
        coarse_grid, fine_grid = plan.settings(kv), plan.settings(kv, REFINE)
        for column in (c for c in CONVERGENCE_COLUMNS if c in plan.columns):
            coarse = load_part(parts.full(column, coarse_grid))[0]
            fine = load_part(parts.full(column, fine_grid, REFINE))[0]
            for low, high in ((50, 120), (70, 200)):
                first = round((low - coarse_grid.inner_mrad) / RING_MRAD)
                rings = slice(first, first + round((high - low) / RING_MRAD))
                change = coarse[0, rings].sum() / fine[0, rings].sum() - 1
                figures[f"{column} {kv:g} kV {low}-{high} mrad"] = round(100 * float(change), 2)
    worst = max((abs(v) for v in figures.values()), default=None)
    return {"peak_change_percent_when_refined_1.6_times": figures, "worst_percent": worst}
