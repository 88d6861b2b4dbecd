"""What the host's columns of a frame show: the lattice, the frame's own scale, and the noise around both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.calibrate import FrameCalibration, calibrate
from stemctx_core.calibration.frame_checks import check_image
from stemctx_core.calibration.scatter import Scatter, measure_scatter
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.materials import Host
from stemctx_core.context import ImagingContext, Missing
from stemctx_core.contrast.features import features_of, projection
from stemctx_core.contrast.mean_patches import OWN_COLUMN, HostMeans, flattened
from stemctx_core.encoding.knowledge import Knowledge, knowledge
from stemctx_core.encoding.prediction import Predictions, predict
from stemctx_core.judging.view import lattice, view
from stemctx_core.lattice import SiteGrid
from stemctx_core.scene import Nuisance, Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics

#: A column stands out of its sublattice from so many robust standard deviations.
_STANDS_OUT: Final = 3.0


@dataclass(frozen=True)
class HostLattice:
    """The columns of a frame that have a whole patch, m of them.

    Attributes
    ----------
    image
        (height, width) float32, as the file has it.
    context, known
        What was declared, and the optics that the columns were compared with.
    grid
        Every site of the frame.
    positions_px
        (m, 2) y, x.
    sublattice
        (m,) int8: 0 metal, 1 chalcogen.
    means
        Mean patches of the host's own columns, in the intensity units of the frame.
    features
        (m, FEATURES) in units of the brighter host column over the background.
    host_like
        (m,) whether the column does not stand out of its sublattice.
    calibration, scatter, predictions
        The frame's scale, its noise, and what the host's columns were compared with.
    level
        Background in units of the brighter host column.
    """

    image: NDArray[np.float32]
    context: ImagingContext
    known: Knowledge
    grid: SiteGrid
    positions_px: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    means: HostMeans
    features: NDArray[np.float32]
    host_like: NDArray[np.bool_]
    calibration: FrameCalibration
    scatter: Scatter
    predictions: Predictions
    level: float

    @property
    def host(self) -> Host:
        """The declared monolayer."""
        return materials.host(self.context.host)

    @property
    def optics(self) -> Optics:
        """The declared optics, or the middle of what they may be, with the frame's own source size."""
        return replace(self.known.optics, sigma_angstrom=self.calibration.sigma_angstrom)

    @property
    def context_without_pixel_size(self) -> ImagingContext:
        """What was declared, less the pixel size."""
        return msgspec.structs.replace(self.context, pixel_size_angstrom=Missing("left to the lattice"))

    @property
    def unit(self) -> float:
        """Intensity of the brighter host column over the background, in the units of the frame."""
        return self.calibration.gain * self.predictions.scene_reference

    @property
    def ratio(self) -> float:
        """X2/M of the frame, as peaks of isolated columns."""
        return self.calibration.ratio * self.calibration.expected_ratio


def host_lattice(
    library: ResponseLibrary, image: NDArray[Any], context: ImagingContext, grid: SiteGrid | None = None
) -> HostLattice:
    """Measure the host's columns.

    Parameters
    ----------
    image
        (height, width) intensities of any real type and scale.
    context
        What is declared; what of the optics is missing is taken from the middle of what is plausible.
    grid
        Sites of the frame; found here by default.

    Raises
    ------
    FrameError, LibraryError, InputError
        Why the frame cannot be measured.
    """
    context.validated()
    known = knowledge(library, context)
    check_image(image)
    grid = lattice(image, context, known) if grid is None else grid
    # A pixel size that is off serves to find the lattice, and is no reason to refuse: it is what may be estimated.
    plain = msgspec.structs.replace(context, pixel_size_angstrom=Missing("left to the lattice"))
    viewed = view(image, grid, plain, known)
    judged = viewed.obstacle == 0
    sublattice, positions = viewed.sites.sublattice[judged], viewed.sites.positions_px[judged]
    measured, means = flattened(viewed.discs, features_of(viewed.discs), sublattice, positions)
    host = materials.host(context.host)
    calibration = calibrate(library, host, known.optics, means)
    predictions = host_predictions(library, context, known, calibration)
    unit = calibration.gain * predictions.scene_reference
    constant = projection().sum(axis=1).astype(np.float32)
    features = (measured - np.float32(calibration.background) * constant) / np.float32(unit)
    level = calibration.background / unit
    scatter = measure_scatter(
        predictions,
        features,
        sublattice,
        host_rows(predictions.scene.candidates),
        level,
        predictions.scene.nuisance,
    )
    return HostLattice(
        image=np.asarray(image, np.float32),
        context=context,
        known=known,
        grid=grid,
        positions_px=positions,
        sublattice=sublattice,
        means=means,
        features=features,
        host_like=_host_like(features[:, OWN_COLUMN], sublattice),
        calibration=calibration,
        scatter=scatter,
        predictions=predictions,
        level=level,
    )


def host_predictions(
    library: ResponseLibrary, context: ImagingContext, known: Knowledge, calibration: FrameCalibration
) -> Predictions:
    """What the host's columns should look like at the frame's own source size and ratio."""
    scene = Scene(
        host=materials.host(context.host),
        candidates=context.candidates,
        optics=replace(known.optics, sigma_angstrom=calibration.sigma_angstrom),
        dose_e_per_angstrom2=1.0,
        background=0.0,
        ratio=calibration.ratio,
        nuisance=replace(Nuisance(), defects=calibration.defects),
    )
    return predict(library, scene)


def _host_like(own: NDArray[np.float32], sublattice: NDArray[np.int8]) -> NDArray[np.bool_]:
    like = np.zeros(len(own), bool)
    for code in (0, 1):
        mine = sublattice == code
        away = np.abs(own - np.median(own[mine]))
        like |= mine & (away <= _STANDS_OUT * 1.4826 * np.median(away[mine]))
    return like
