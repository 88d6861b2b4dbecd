"""Each tier against the one below it: columns and deltas against the reference, site by site.

Intensities are compared in units of the host metal's signal, each tier's own and the reference's own: that is the
scale that the analysis calibrates a frame by, and what a box of another size does to all columns alike drops out of
it. The error with no such scale is kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.simulation.finished import load_part
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.truth.delta import DeltaLibrary
from stemctx_core.simulation.truth.held_out import HeldOutCell
from stemctx_core.simulation.truth.reference import site_positions, site_signal
from stemctx_core.simulation.truth.supercells import Supercell
from stemctx_core.simulation.truth.superposition import Detector, frozen_sum, thermal_sum

DETECTORS: Final[dict[str, Detector]] = {"HAADF": (70.0, 200.0), "MAADF": (50.0, 120.0)}
#: What the column library has to reach in HAADF, percent of the host metal's signal.
MEDIAN_LIMIT_PERCENT: Final = 1.0
MAXIMUM_LIMIT_PERCENT: Final = 3.0


@dataclass(frozen=True)
class SiteError:
    """One site, tier and detector.

    Attributes
    ----------
    signal_percent
        The reference's source-weighted signal, in percent of its host metal's.
    error_percent, standard_error_percent
        Tier less reference, each in its own host metal's signal, and what the thermal configurations leave open.
    unscaled_percent
        The same without the common scale, in the reference's host metal's signal.
    centre_percent
        The same on top of the column, without a source, in the host metal's own.
    """

    cell: str
    high_tension_kv: float
    site: int
    name: str
    host: str
    column: str
    native: str
    detector: str
    tier: str
    signal_percent: float
    error_percent: float
    standard_error_percent: float
    unscaled_percent: float
    centre_percent: float

    @property
    def is_defect(self) -> bool:
        """Whether the host has something else there."""
        return self.column != self.native


@dataclass(frozen=True)
class CellFigures:
    """What one supercell and detector says of the method itself.

    Attributes
    ----------
    scale
        Host metal's signal of the columns over that of the reference.
    spread_percent, spread_without_control_percent
        Mean over sites of the standard deviation over configurations, with and without the control variate.
    """

    cell: str
    high_tension_kv: float
    detector: str
    configurations: int
    scale: float
    spread_percent: float
    spread_without_control_percent: float


def compare(
    held_out: HeldOutCell,
    configurations: int,
    folder: Path,
    library: ResponseLibrary,
    deltas: DeltaLibrary | None,
) -> tuple[list[SiteError], list[CellFigures]]:
    """Errors of both tiers at every site of a supercell whose configurations are in the folder.

    The reference's thermal mean is estimated with the columns as a control variate: the mean over configurations of
    reference less superposition, both for the same displaced atoms, plus the superposition's own thermal mean.
    """
    rings = [load_part(folder / held_out.part_name(k)) for k in range(configurations)]
    cell, kv = held_out.cell, held_out.probe.high_tension_kv
    positions = site_positions(cell)
    metals = host_metals(cell)
    errors, figures = [], []
    for name, detector in DETECTORS.items():
        low, high = (round(edge / 5) for edge in detector)
        reference = np.stack([r[..., low:high].sum(axis=-1, dtype=np.float64) for r in rings])
        control = np.stack(
            [
                frozen_sum(library, cell, held_out.atoms(k), held_out.grid, kv, detector, positions)
                for k in range(configurations)
            ]
        )
        column_mean = thermal_sum(library, cell, kv, detector, positions)
        mean = column_mean + (reference - control).mean(axis=0)
        unit = site_signal(mean)[metals].mean()
        left = _spread(site_signal(reference - control), unit)
        tiers = {"columns": column_mean}
        if deltas is not None:
            tiers["deltas"] = thermal_sum(deltas.for_host(cell.host), cell, kv, detector, positions)
        for tier, values in tiers.items():
            errors += _site_errors(held_out, name, tier, values, mean, left / np.sqrt(configurations), metals)
        figures.append(
            CellFigures(
                held_out.name,
                kv,
                name,
                configurations,
                float(site_signal(column_mean)[metals].mean() / unit),
                float(left.mean()),
                float(_spread(site_signal(reference), unit).mean()),
            )
        )
    return errors, figures


def host_metals(cell: Supercell) -> NDArray[np.intp]:
    """Sites that hold the host's own metal."""
    return np.array(
        [
            i
            for i, s in enumerate(cell.sites)
            if s.sublattice is Sublattice.METAL and s.column == cell.host.metal
        ]
    )


def _spread(signals: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    if len(signals) < 2:
        return np.full(signals.shape[1:], np.nan)
    spread: NDArray[np.float64] = 100 * signals.std(axis=0, ddof=1) / unit
    return spread


def _site_errors(
    held_out: HeldOutCell,
    detector: str,
    tier: str,
    values: NDArray[np.float64],
    reference: NDArray[np.float64],
    standard_error: NDArray[np.float64],
    metals: NDArray[np.intp],
) -> list[SiteError]:
    cell = held_out.cell
    signal, true = site_signal(values), site_signal(reference)
    unit, true_unit = signal[metals].mean(), true[metals].mean()
    centre = values[:, 0] / values[metals, 0].mean() - reference[:, 0] / reference[metals, 0].mean()
    return [
        SiteError(
            held_out.name,
            held_out.probe.high_tension_kv,
            i,
            held_out.site_name(i),
            cell.host.name,
            site.column,
            cell.native(site),
            detector,
            tier,
            float(100 * true[i] / true_unit),
            float(100 * (signal[i] / unit - true[i] / true_unit)),
            float(standard_error[i]),
            float(100 * (signal[i] - true[i]) / true_unit),
            float(100 * centre[i]),
        )
        for i, site in enumerate(cell.sites)
    ]


@dataclass(frozen=True)
class Summary:
    """Absolute errors of a set of sites, percent of the host metal's signal."""

    tier: str
    detector: str
    sites: int
    median_percent: float
    percentile_95_percent: float
    maximum_percent: float
    worst: str
    unscaled_median_percent: float
    unscaled_maximum_percent: float
    centre_median_percent: float
    centre_maximum_percent: float
    standard_error_median_percent: float

    def passes(self) -> bool:
        """Whether the errors are within the limits."""
        return self.median_percent <= MEDIAN_LIMIT_PERCENT and self.maximum_percent <= MAXIMUM_LIMIT_PERCENT


def summarise(errors: Sequence[SiteError], tier: str, detector: str) -> Summary:
    """Figures of the sites of one tier and detector."""
    chosen = [e for e in errors if e.tier == tier and e.detector == detector]
    size = np.array([abs(e.error_percent) for e in chosen])
    unscaled = np.array([abs(e.unscaled_percent) for e in chosen])
    centre = np.array([abs(e.centre_percent) for e in chosen])
    return Summary(
        tier,
        detector,
        len(chosen),
        float(np.median(size)),
        float(np.percentile(size, 95)),
        float(size.max()),
        chosen[int(size.argmax())].name,
        float(np.median(unscaled)),
        float(unscaled.max()),
        float(np.median(centre)),
        float(centre.max()),
        float(np.median([e.standard_error_percent for e in chosen])),
    )


def summaries(errors: Sequence[SiteError]) -> list[Summary]:
    """One for every tier and detector there is, columns in HAADF first."""
    found = dict.fromkeys((e.tier, e.detector) for e in errors)
    return [summarise(errors, tier, detector) for tier, detector in found]


def plain(records: Sequence[Any], digits: int = 4) -> list[dict[str, Any]]:
    """Dataclass records as dictionaries with rounded figures, for JSON."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return None if np.isnan(value) else round(value, digits)
        return value

    return [{name: short(value) for name, value in asdict(record).items()} for record in records]
