"""All that `stemctx real` measures, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.prevalence import Expected
from stemctx_core.context import ImagingContext
from stemctx_core.encoding.knowledge import knowledge
from stemctx_core.judging.decision import OBSTACLES, not_told_apart
from stemctx_core.lattice import SiteGrid
from stemctx_core.metrics import rounded
from stemctx_core.real.data import (
    BOUNDARY,
    DETECTORS,
    MOS2,
    RHENIUM,
    declared,
    image_of,
    ti_wse2,
    ti_wse2_labels,
)
from stemctx_core.real.figures import figures, matched
from stemctx_core.refining.amplitudes import measure
from stemctx_core.results import DECISIONS, FrameResult

#: Angles that give about the frame's own X2/M, as one would guess them.
GUESSED_MRAD: Final = {"ADF1": (50.0, 120.0), "ADF2": (35.0, 70.0)}
#: Where a group of sites lies in the plane of both amplitudes: near Se with O, which is (0.52, 0.48) by simulation.
THIRD: Final = (0.52, 0.50)
THIRD_HALF: Final = 0.1


@dataclass(frozen=True)
class Measured:
    """Figures, and the results that pictures are drawn of.

    Attributes
    ----------
    told
        Ready for JSON.
    results
        By the name of the run.
    images
        Of those runs.
    amplitudes
        Of both detectors of the Ti:WSe2 frame, the chalcogen sites: (2, n).
    """

    told: dict[str, Any]
    results: dict[str, FrameResult]
    images: dict[str, NDArray[Any]]
    amplitudes: NDArray[np.float64]


def measure_all(folder: Path, tell: Callable[[str], None] = lambda _: None) -> Measured:
    """Judge the frames of a folder.

    Parameters
    ----------
    folder
        With the real frames.
    tell
        Called with what is being judged.

    Raises
    ------
    InputError
        A frame that is not there.
    """
    analyzer = FrameAnalyzer.shipped()
    seen = {detector: ti_wse2(folder, detector) for detector in DETECTORS}
    labels = ti_wse2_labels(folder)
    unknown = declared("WSe2", ("Ti",), 80.0)
    results: dict[str, FrameResult] = {}
    for detector, image in seen.items():
        guessed = declared("WSe2", ("Ti",), 80.0, GUESSED_MRAD[detector])
        tell(f"Ti:WSe2, {detector}")
        results[f"{detector} live"] = analyzer.analyze(image, unknown)
        results[f"{detector} live, angles guessed"] = analyzer.analyze(image, guessed)
        results[f"{detector} thorough"] = analyzer.analyze(image, unknown, thorough=True)
    tell("Ti:WSe2, both detectors")
    pair = [(image, unknown) for image in seen.values()]
    results["both live"] = analyzer.analyze_detectors(pair)
    results["both thorough"] = both = analyzer.analyze_detectors(pair, thorough=True)
    images = {name: seen[name.split()[0]] if name[:3] == "ADF" else seen["ADF2"] for name in results}
    shape = seen["ADF1"].shape
    told: dict[str, Any] = {
        name: {
            **figures(matched(result, labels, (shape[0], shape[1]))),
            "flags": result.flag_counts(),
            "undecided": len(result.undecided()),
            "warnings": list(result.warnings),
            "x2_over_m": rounded(result.calibration.ratio_measured, 3) if result.calibration else None,
        }
        for name, result in results.items()
    }
    tell("the third population")
    third, plane = _third(_amplitudes(analyzer, pair, both), both)
    tell("prevalence")
    unprejudiced = [
        (image, msgspec.structs.replace(context, expected=Expected(from_image=True))) for image, context in pair
    ]
    own_rates = analyzer.analyze_detectors(unprejudiced)
    others, other_results, other_images = _refusals(folder, analyzer, seen["ADF1"], tell)
    return Measured(
        told={
            "model": analyzer.model_name,
            "ti_wse2": told,
            "third_population": third,
            "prevalence": _prevalence(results["both live"], own_rates),
            "frames": others,
        },
        results={**results, **other_results},
        images={**images, **other_images},
        amplitudes=plane,
    )


def _amplitudes(
    analyzer: FrameAnalyzer, pair: Sequence[tuple[NDArray[Any], ImagingContext]], both: FrameResult
) -> NDArray[np.float64]:
    """(detectors, n) relative amplitudes at the sites of a result."""
    evidences = [analyzer.evidence(image, context) for image, context in pair]
    # The sites are those of the detector that showed them best.
    grid = min((e.grid for e in evidences if e.grid is not None), key=lambda g: _away(g, both))
    found = []
    for (image, context), told in zip(pair, evidences, strict=True):
        optics = knowledge(analyzer.library, context).optics
        begun = replace(optics, sigma_angstrom=told.scale.calibration.sigma_angstrom)
        found.append(measure(image, grid, analyzer.library, materials.host(context.host), begun).relative)
    return np.stack(found)


def _away(grid: SiteGrid, result: FrameResult) -> float:
    """How far a grid's sites are from those of a result (px), infinite where they are not as many."""
    if len(grid) != len(result.sites):
        return np.inf
    return float(np.abs(grid.positions_px[:, 0] - result.sites.y_px).max())


def _third(relative: NDArray[np.float64], both: FrameResult) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """What is said of the sites about `THIRD`, and the amplitudes of all chalcogen sites."""
    chalcogen = both.sites.sublattice == 1
    reasons = [both.reasons[int(k)] for k in both.sites.reason]
    near = (np.abs(relative - np.array(THIRD)[:, None]) < THIRD_HALF).all(axis=0)
    chosen = np.flatnonzero(near & chalcogen & ~np.isin(reasons, OBSTACLES[1:]))
    roles = [c.role for c in both.candidates]
    single = [k for k, r in enumerate(roles) if r in (Role.CHALCOGEN_VACANCY, Role.OXYGEN)]
    said = [f"{both.species(int(i))} ({DECISIONS[both.sites.decision[i]].value})" for i in chosen]
    told = {
        "centre": list(THIRD),
        "half_width": THIRD_HALF,
        "sites": len(chosen),
        "said": {n: said.count(n) for n in sorted(set(said))},
        "as_o_or_as_both": int(
            sum(
                both.role(int(i)) is Role.OXYGEN or {"vac_Se", "O_Se"} <= set(not_told_apart(reasons[int(i)]))
                for i in chosen
            )
        ),
        "vac_Se_or_O_Se_above_half": int((both.sites.posterior[chosen][:, single].sum(axis=1) > 0.5).sum()),
        "mean_probability": {
            c.species: rounded(float(p), 4)
            for c, p in zip(
                both.candidates, both.sites.posterior[chosen].sum(axis=0) / max(1, len(chosen)), strict=True
            )
        },
    }
    return told, relative[:, chalcogen]


def _prevalence(by_default: FrameResult, own: FrameResult) -> dict[str, Any]:
    words = [w for w in own.warnings if w.startswith("Prior estimated")]
    changed = int(np.count_nonzero(by_default.sites.decision != own.sites.decision))
    return {
        "default": dict(zip((c.species for c in by_default.candidates), by_default.prior, strict=True)),
        "estimated": {c.species: rounded(p, 5) for c, p in zip(own.candidates, own.prior, strict=True)},
        "words": words,
        "decisions_changed": changed,
        "flags_by_default": by_default.flag_counts(),
        "flags_by_estimate": own.flag_counts(),
    }


def _refusals(
    folder: Path, analyzer: FrameAnalyzer, adf1: NDArray[Any], tell: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, FrameResult], dict[str, NDArray[Any]]]:
    """What is said of the other frames, and of the Ti:WSe2 frame under a wrong context."""
    images = {
        "MoS2 at 60 kV": image_of(folder, MOS2),
        "MoSe2 grain boundary": image_of(folder, BOUNDARY),
        "Re on carbon": image_of(folder, RHENIUM),
        "Ti:WSe2 ADF1 declared as MoS2": adf1,
        "Ti:WSe2 ADF1 declared 35-70 mrad": adf1,
    }
    contexts = {
        "MoS2 at 60 kV": declared("MoS2", (), 60.0),
        "MoSe2 grain boundary": declared("MoSe2", (), 80.0),
        "Re on carbon": declared("WSe2", ("Re",), 80.0, (70.0, 200.0)),
        "Ti:WSe2 ADF1 declared as MoS2": declared("MoS2", ("Ti",), 80.0, GUESSED_MRAD["ADF1"]),
        "Ti:WSe2 ADF1 declared 35-70 mrad": declared("WSe2", ("Ti",), 80.0, GUESSED_MRAD["ADF2"]),
    }
    results, told = {}, {}
    for name, image in images.items():
        tell(name)
        # Contamination and holes are told best where all columns are solved for.
        result = analyzer.analyze(image, contexts[name], thorough=name == "MoS2 at 60 kV")
        results[name] = result
        reasons = [result.reasons[int(k)] for k in result.sites.reason]
        told[name] = {
            "refusal": result.refusal.reason if result.refusal else None,
            "code": result.refusal.code if result.refusal else None,
            "sites": len(result.sites),
            "flags": result.flag_counts(),
            "reasons": {r: reasons.count(r) for r in sorted(set(reasons)) if r},
            "warnings": list(result.warnings),
        }
    return told, results, images
