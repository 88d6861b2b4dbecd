"""Labels of frames whose truth is known, as an operator would give them: the frame judged, patches cut, files written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.contrast.cutting import extract_patches
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.labelling.hand_labels import HandLabel, Judgement, append, patch_bytes
from stemctx_core.results import SUBLATTICES, FrameIdentity
from stemctx_core.simulation.library import shipped_library

#: Defects are so frequent that a small frame has some of each.
MANY = {
    Role.DOPANT: 0.1,
    Role.CHALCOGEN_VACANCY: 0.1,
    Role.METAL_VACANCY: 0.03,
    Role.CHALCOGEN_DIVACANCY: 0.03,
    Role.OXYGEN: 0.05,
}


def context(
    host: str, dopants: tuple[str, ...], kv: float, detector_mrad: tuple[float, float]
) -> ImagingContext:
    return ImagingContext(host, dopants, *(known(v, Source.USER) for v in (kv, 30.0, *detector_mrad)))


def labels_of(
    image: NDArray[Any],
    told: ImagingContext,
    name: str,
    positions_px: NDArray[np.float64],
    species: Sequence[str],
) -> list[HandLabel]:
    """A label for every site that was judged and whose truth is known, with an inclusion probability of 1."""
    analyzer = FrameAnalyzer.shipped()
    identity = FrameIdentity(name, 0, image.shape[0], (image.shape[0], image.shape[1]))
    evidence = analyzer.evidence(image, told)
    result = analyzer.conclude(evidence, told, identity)
    assert result.calibration is not None
    assert evidence.grid is not None
    distance, nearest = cKDTree(positions_px).query(evidence.sites.positions_px)
    judged = (evidence.obstacle == 0) & (distance * result.calibration.pixel_size_angstrom < 0.8)
    patches = extract_patches(image, evidence.grid, judged)
    made = []
    for patch, site in zip(patches, np.flatnonzero(judged), strict=True):
        said, found = str(species[nearest[site]]), result.species(int(site))
        here = SUBLATTICES[int(result.sites.sublattice[site])]
        if said not in [c.species for c in result.candidates if c.sublattice is here]:
            continue
        posterior = result.sites.posterior[site]
        made.append(
            HandLabel(
                time_utc="2026-01-01T00:00:00.000+00:00",
                judgement=Judgement.ACCEPT if said == found else Judgement.RELABEL,
                label=said,
                found=found,
                probability=float(posterior.max()),
                posterior={c.species: float(p) for c, p in zip(result.candidates, posterior, strict=True)},
                sublattice=here,
                y_px=float(result.sites.y_px[site]),
                x_px=float(result.sites.x_px[site]),
                frame=identity,
                context=told,
                calibration=result.calibration,
                frames_accumulated=1,
                model=result.model,
                patch=patch_bytes(patch),
                inclusion_probability=1.0,
            )
        )
    return made


def simulated_labels(
    seed: int,
    true_mrad: tuple[float, float] = (50.0, 120.0),
    told_mrad: tuple[float, float] = (80.0, 200.0),
    dose: float = 3e4,
) -> list[HandLabel]:
    """Labels of a simulated MoSe2 frame of 384² pixels, imaged under other angles than are declared."""
    recipe = FrameRecipe(
        Case(materials.host("MoSe2"), ("V",), 80.0, *true_mrad),
        shape=(384, 384),
        dose_e_per_angstrom2=dose,
        sigma_angstrom=0.45,
        crystal=CrystalRecipe(prevalence=MANY),
    )
    frame = labelled_frame(shipped_library(), recipe, seed)
    names = [frame.sites.candidates[k].species for k in frame.sites.column_index]
    told = context("MoSe2", ("V",), 80.0, told_mrad)
    return labels_of(frame.images[0], told, f"simulated {seed}", frame.sites.positions_px, names)


def drawn(labels: Sequence[HandLabel], count: int, rng: np.random.Generator) -> list[HandLabel]:
    """About as many labels of each species that was found, with the probability that each was to be drawn."""
    by_found: dict[str, list[HandLabel]] = {}
    for label in labels:
        by_found.setdefault(label.found, []).append(label)
    each = count // len(by_found)
    chosen = []
    for of_one in by_found.values():
        share = min(each, len(of_one)) / len(of_one)
        for at in rng.permutation(len(of_one))[:each]:
            chosen.append(msgspec.structs.replace(of_one[at], inclusion_probability=share))
    return chosen


def permuted(labels: Sequence[HandLabel], rng: np.random.Generator) -> list[HandLabel]:
    """The same sites with each other's labels, within a sublattice."""
    wrong = []
    for sublattice in SUBLATTICES:
        here = [label for label in labels if label.sublattice is sublattice]
        order = rng.permutation(len(here))
        wrong += [
            msgspec.structs.replace(label, label=here[k].label) for label, k in zip(here, order, strict=True)
        ]
    return wrong


def written(path: Path, labels: Sequence[HandLabel]) -> Path:
    """A file of labels."""
    for label in labels[:1]:
        append(path, label)
    with path.open("ab") as file:
        file.writelines(msgspec.json.encode(label) + b"\n" for label in labels[1:])
    return path


def ti_wse2_labels(folder: Path, image: NDArray[Any], told: ImagingContext) -> list[HandLabel]:
    """What people said of the sites of the Ti:WSe2 frame; the labels of Ti, which nobody believes, left out."""
    with (folder / "TiWSe2_1028_2_labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["class_name"] != "Ti_W"]
    species = {"Se2": "Se2", "V_Se": "vac_Se", "W": "W"}
    positions = np.array([[float(row["y"]), float(row["x"])] for row in rows])
    return labels_of(image, told, "Ti:WSe2", positions, [species[row["class_name"]] for row in rows])
