"""From a flag on the screen and what the operator says of it to a label that is kept for later training."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import HOST_ROLES
from stemctx_core.contrast.cutting import extract_patches
from stemctx_core.errors import InputError, LatticeError
from stemctx_core.labelling.hand_labels import HandLabel, Judgement, patch_bytes
from stemctx_core.lattice import find_sites
from stemctx_core.results import SUBLATTICES, FrameResult

FILE_NAME: Final = "stemctx_labels.jsonl"
#: A site of the lattice that is found again lies within this part of the lattice constant of the flag.
_SAME_SITE: Final = 0.2


def species_at(result: FrameResult, site: int) -> tuple[str, ...]:
    """Species that can stand at a site, the host's own first."""
    here = SUBLATTICES[int(result.sites.sublattice[site])]
    return tuple(c.species for c in result.candidates if c.sublattice is here)


def label_of(
    result: FrameResult, site: int, image: NDArray[Any], judgement: Judgement, species: str = ""
) -> HandLabel:
    """Label of one site; takes a few hundred milliseconds, so not for the window's thread.

    Parameters
    ----------
    result, site
        Where the flag stands.
    image
        The frame that the result is about, or its valid rows.
    judgement
        What the operator says.
    species
        What stands there instead, where it is relabelled; one of `species_at`.

    Raises
    ------
    InputError
        A species that cannot stand there, or a lattice that is not found again around the site.
    """
    possible = species_at(result, site)
    found = result.species(site)
    said = {Judgement.ACCEPT: found, Judgement.REJECT: _own(result, site), Judgement.RELABEL: species}[
        judgement
    ]
    if said not in possible:
        raise InputError(f"'{said}' cannot stand at this site. Choose one of {', '.join(possible)}.")
    sites, calibration = result.sites, result.calibration
    if calibration is None:
        raise InputError("This frame has no calibration, so that no label can be made of it.")
    posterior = sites.posterior[site]
    y, x = float(sites.y_px[site]), float(sites.x_px[site])
    return HandLabel(
        time_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        judgement=judgement,
        label=said,
        found=found,
        probability=float(posterior[sites.best[site]]),
        posterior={c.species: float(p) for c, p in zip(result.candidates, posterior, strict=True)},
        sublattice=SUBLATTICES[int(sites.sublattice[site])],
        y_px=y,
        x_px=x,
        frame=result.frame,
        context=result.context,
        calibration=calibration,
        frames_accumulated=result.frames_accumulated,
        model=result.model,
        patch=patch_bytes(_patch(result, site, image)),
    )


def _own(result: FrameResult, site: int) -> str:
    """Species of the host's own column at a site."""
    here = SUBLATTICES[int(result.sites.sublattice[site])]
    return next(c.species for c in result.candidates if c.sublattice is here and c.role in HOST_ROLES)


def _patch(result: FrameResult, site: int, image: NDArray[Any]) -> NDArray[np.float32]:
    calibration, sites = result.calibration, result.sites
    assert calibration is not None
    host = materials.host(result.context.host)
    lost = "The lattice around this site is not found again, so that no label can be made of it."
    try:
        grid = find_sites(image, host, calibration.ratio_expected, calibration.pixel_size_angstrom)
    except LatticeError as error:
        raise InputError(f"{lost} {error}") from error
    place = np.array([sites.y_px[site], sites.x_px[site]], float)
    distance = np.hypot(*(grid.positions_px - place).T)
    nearest = int(distance.argmin())
    if distance[nearest] > _SAME_SITE * host.a_angstrom / calibration.pixel_size_angstrom:
        raise InputError(lost)
    if grid.sublattice[nearest] != sites.sublattice[site]:
        grid = (
            grid.swapped()
        )  # the result was judged by a lattice whose sublattices were named over several frames
        nearest = int(np.hypot(*(grid.positions_px - place).T).argmin())
    patch: NDArray[np.float32] = extract_patches(image, grid, np.arange(len(grid)) == nearest)[0]
    return patch
