"""From a micrograph to the sites of it that people are asked about."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.cutting import extract_patches
from stemctx_core.judging.evidence import SiteEvidence
from stemctx_core.labelling.crops import SURROUNDINGS, WIDTH, crop, levels
from stemctx_core.labelling.hand_labels import patch_bytes
from stemctx_core.labelling.records import FrameRecord, SiteRecord
from stemctx_core.labelling.sampling import Amounts, draw
from stemctx_core.results import DECISIONS, SUBLATTICES, FrameIdentity, Refusal


def sites_of(
    image: NDArray[Any],
    context: ImagingContext,
    name: str,
    analyzer: FrameAnalyzer,
    amounts: Amounts,
    seed: int,
) -> tuple[FrameRecord, list[SiteRecord]] | Refusal:
    """Judge a frame and draw sites of it; a frame that cannot be judged is the refusal.

    Parameters
    ----------
    image
        (height, width) intensities.
    context
        What was imaged and how.
    name
        Of the file, for the record.
    amounts, seed
        How many sites are drawn, and what the draw follows from.
    """
    found: list[SiteEvidence] = []

    def evidence() -> SiteEvidence:
        found.append(analyzer.evidence(image, context))
        return found[0]

    identity = FrameIdentity(name, 0, image.shape[0], (image.shape[0], image.shape[1]))
    result = analyzer.judge(evidence, context, identity, {})
    if result.refusal is not None:
        return result.refusal
    calibration, grid = result.calibration, found[0].grid
    assert calibration is not None
    assert grid is not None
    drawn = draw(result, amounts, np.random.default_rng(seed))
    chosen = np.array([d.site for d in drawn], int)
    only = np.zeros(len(grid), bool)
    only[chosen] = True
    patches = extract_patches(image, grid, only)[np.searchsorted(np.flatnonzero(only), chosen)]
    pixel = calibration.pixel_size_angstrom
    width, around = (n * materials.host(context.host).a_angstrom for n in (WIDTH, SURROUNDINGS))
    shown, table = levels(image), result.sites
    sites = []
    for one, patch in zip(drawn, patches, strict=True):
        y, x = float(table.y_px[one.site]), float(table.x_px[one.site])
        posterior = table.posterior[one.site]
        sites.append(
            SiteRecord(
                y_px=y,
                x_px=x,
                sublattice=SUBLATTICES[int(table.sublattice[one.site])],
                stratum=one.stratum,
                inclusion=one.inclusion,
                found=result.species(one.site),
                probability=float(posterior[table.best[one.site]]),
                decision=DECISIONS[int(table.decision[one.site])],
                posterior={c.species: float(p) for c, p in zip(result.candidates, posterior, strict=True)},
                patch=patch_bytes(patch),
                picture=crop(image, (y, x), width / pixel, shown),
                picture_angstrom=width,
                surroundings=crop(image, (y, x), around / pixel, shown),
                surroundings_angstrom=around,
            )
        )
    frame = FrameRecord(name, pixels_sha256(image), identity, context, calibration, 1, result.model)
    return frame, sites


def pixels_sha256(image: NDArray[Any]) -> str:
    """Hash of the shape and the pixels of a frame, by which it is known again."""
    plain = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    head = f"{plain.dtype.str} {plain.shape}".encode()
    return hashlib.sha256(head + plain.tobytes()).hexdigest()
