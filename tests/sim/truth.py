"""What stands in a frame of a fresh specimen, without a microscope."""

from __future__ import annotations

from sim.generator import GroundTruth, truth_of
from sim.geometry import FrameGeometry
from sim.specimen import Specimen


def ground_truth(specimen: Specimen, geometry: FrameGeometry) -> GroundTruth:
    """Every site within a frame of this geometry."""
    sites = specimen.columns_in(*geometry.bounds_nm(0.0))
    return truth_of(sites, geometry.to_px(sites.positions_nm), geometry)
