"""What the reference itself rests on: pixels, sampling, box, slices, abTEM's projection; and where columns stop to add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core.chemistry import columns, materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.simulation.multislice import RING_MRAD, MultisliceSettings, ring_response
from stemctx_core.simulation.truth.reference import (
    Probe,
    site_positions,
    site_signal,
    supercell_rings,
    vacuum_rings,
)
from stemctx_core.simulation.truth.supercells import Supercell, atoms_at_rest, grid_for, perfect

_DETECTORS: Final = {"HAADF": (70, 200), "MAADF": (50, 120)}
#: Inner angles and widths at which superposition is tried (mrad).
INNER_MRAD: Final = (25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100)
WIDTH_MRAD: Final = (10, 15, 20, 25, 30, 40, 50, 70, 100, 130, 150)


def _detected(rings: NDArray[np.floating], detector: tuple[int, int], first_mrad: float = 0.0) -> Any:
    low, high = (round((edge - first_mrad) / RING_MRAD) for edge in detector)
    return rings[..., low:high].sum(axis=-1, dtype=np.float64)


def _peaks(
    atoms: list[tuple[str, float, float, float]], at: float, settings: MultisliceSettings
) -> dict[str, float]:
    separation = columns.separation_angstrom("+".join(a[0] for a in atoms))
    rings = ring_response(atoms, separation, np.array([[at, at]]), settings)[0]
    return {name: float(_detected(rings, d, settings.inner_mrad)) for name, d in _DETECTORS.items()}


def subpixel_study() -> list[dict[str, Any]]:
    """Peak of one atom at 0, 1/4 and 1/2 pixel from a pixel, at three samplings, over that of the finest on a pixel."""
    rows = []
    for element in ("W", "Mo", "V"):
        found = {}
        for points in (240, 480, 960):
            settings = MultisliceSettings(80.0, box_angstrom=12.0, grid_points=points, outer_mrad=200.0)
            for share in (0.0, 0.25, 0.5):
                at = (points // 2 + share) * settings.sampling_angstrom
                found[points, share] = _peaks([(element, at, at, 0.0)], at, settings)
        truth = found[960, 0.0]
        rows += [
            {
                "element": element,
                "sampling_angstrom": 12.0 / points,
                "offset_px": share,
                **{f"{d}_percent": round(100 * (peak[d] / truth[d] - 1), 2) for d in _DETECTORS},
            }
            for (points, share), peak in found.items()
        ]
    return rows


def convergence_study(high_tensions_kv: tuple[float, ...] = (60.0, 80.0)) -> list[dict[str, Any]]:
    """Peaks of a metal and of a chalcogen pair against a finer sampling and a larger box, and the ratio of the two."""
    rows = []
    for kv in high_tensions_kv:
        base = MultisliceSettings(kv, outer_mrad=200.0)
        tried = {
            "as the library": base,
            "sampling 1.6 times finer": replace(base, grid_points=560),
            "box 1.2 times wider": replace(base, box_angstrom=16.8, grid_points=420),
            "box 2 times wider": replace(base, box_angstrom=28.0, grid_points=700),
        }
        for pair, metal in (("S", "Mo"), ("Te", "W")):
            peaks = {name: _metal_and_pair(metal, pair, settings) for name, settings in tried.items()}
            first = peaks["as the library"]
            for name, values in list(peaks.items())[1:]:
                for detector in _DETECTORS:
                    m, x = (values[i][detector] / first[i][detector] for i in range(2))
                    rows.append(
                        {
                            "high_tension_kv": kv,
                            "columns": f"{metal}, {pair}2",
                            "changed": name,
                            "detector": detector,
                            "metal_percent": round(100 * (m - 1), 2),
                            "pair_percent": round(100 * (x - 1), 2),
                            "ratio_percent": round(100 * (x / m - 1), 2),
                        }
                    )
    return rows


def _metal_and_pair(metal: str, chalcogen: str, settings: MultisliceSettings) -> tuple[dict[str, float], ...]:
    pixel = settings.sampling_angstrom
    at = settings.grid_points // 2 * pixel
    apart = 2 * round(0.14 / pixel / 2) * pixel
    pair = [(chalcogen, at - apart / 2, at, -0.5), (chalcogen, at + apart / 2, at, 0.5)]
    return _peaks([(metal, at, at, 0.0)], at, settings), _peaks(pair, at, settings)


def slice_study() -> list[dict[str, Any]]:
    """Columns in the lattice and alone: thin slices, and abTEM's finite projection, against one slice a plane."""
    host = materials.host("WSe2")
    cell = perfect(host)
    probe = Probe(80.0)
    grid = grid_for(host, 80.0, probe.outer_mrad)
    atoms = atoms_at_rest(cell, grid)
    sites = [_first(cell, s) for s in Sublattice]
    rows = []
    for name, other in (
        ("slices of 0.25 Å, whole atoms", replace(probe, slice_angstrom=0.25)),
        ("slices of 0.5 Å, finite projection", replace(probe, slice_angstrom=0.5, projection="finite")),
        ("slices of 0.25 Å, finite projection", replace(probe, slice_angstrom=0.25, projection="finite")),
    ):
        for site in sites:
            own = [a for a in atoms if a.site == site]
            at = cell.places_angstrom[site][None]
            peak, changed = (supercell_rings(host, own, grid, at, p)[0] for p in (probe, other))
            rows.append(
                {
                    "column": cell.sites[site].column,
                    "high_tension_kv": 80.0,
                    "changed": name,
                    **{
                        f"{d}_percent": round(100 * float(_detected(changed, a) / _detected(peak, a) - 1), 2)
                        for d, a in _DETECTORS.items()
                    },
                }
            )
    return rows


def _first(cell: Supercell, sublattice: Sublattice) -> int:
    return next(i for i, s in enumerate(cell.sites) if s.sublattice is sublattice)


def superposition_limits(
    hosts: tuple[str, ...] = ("WSe2", "MoS2"),
    high_tensions_kv: tuple[float, ...] = (60.0, 80.0, 200.0),
    convergence_semi_angle_mrad: float = 30.0,
) -> dict[str, Any]:
    """Error of superposition in the perfect lattice by inner angle and width of the detector.

    Returns
    -------
    dict
        ``inner_mrad``, ``width_mrad``, and under ``percent`` for each host and energy a table (inner, width) of the
        larger error of the two host columns: source-weighted, atoms at rest, in units of the metal's own signal.
        None where the detector ends beyond 200 mrad.
    """
    tables = {}
    for name in hosts:
        for kv in high_tensions_kv:
            tables[f"{name} {kv:g} kV"] = _limits(name, Probe(kv, convergence_semi_angle_mrad))
    return {
        "convergence_semi_angle_mrad": convergence_semi_angle_mrad,
        "inner_mrad": list(INNER_MRAD),
        "width_mrad": list(WIDTH_MRAD),
        "percent": tables,
    }


def _limits(name: str, probe: Probe) -> list[list[float | None]]:
    host = materials.host(name)
    cell = perfect(host)
    grid = grid_for(host, probe.high_tension_kv, probe.outer_mrad)
    atoms = atoms_at_rest(cell, grid)
    sites = [_first(cell, s) for s in Sublattice]
    at = site_positions(cell)[sites]
    true = supercell_rings(host, atoms, grid, at.reshape(-1, 2), probe).reshape(2, at.shape[1], -1)
    empty = vacuum_rings(host, grid, probe)
    radii = np.concatenate([np.arange(0, 3, 0.15), np.arange(3, 9.1, 0.5)])
    added = np.zeros(true.shape) + empty
    for site, sublattice in zip(sites, Sublattice, strict=True):
        own = [a for a in atoms if a.site == site]
        line = cell.places_angstrom[site] + radii[:, None] * np.array([1.0, 0.0])
        alone = CubicSpline(radii, supercell_rings(host, own, grid, line, probe) - empty, axis=0)
        for other, place in zip(cell.sites, cell.places_angstrom, strict=True):
            if other.sublattice is sublattice:
                distance = np.linalg.norm(cell.offset_angstrom(at, place), axis=-1)
                added += np.where(
                    (distance < radii[-1])[..., None], alone(np.minimum(distance, radii[-1])), 0.0
                )
    table: list[list[float | None]] = []
    for inner in INNER_MRAD:
        row: list[float | None] = []
        for width in WIDTH_MRAD:
            if inner + width > probe.outer_mrad:
                row.append(None)
                continue
            signal, summed = (site_signal(_detected(v, (inner, inner + width))) for v in (true, added))
            row.append(round(float(100 * np.abs(summed - signal).max() / signal[0]), 2))
        table.append(row)
    return table


def all_studies(progress: Callable[[str], None]) -> dict[str, Any]:
    """Every study, some minutes in all."""
    found: dict[str, Any] = {}
    for name, study in (
        ("subpixel", subpixel_study),
        ("convergence", convergence_study),
        ("slices", slice_study),
        ("superposition_limits", superposition_limits),
    ):
        progress(name)
        found[name] = study()
    return found
