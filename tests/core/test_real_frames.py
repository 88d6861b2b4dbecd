"""Real micrographs, with no label used by the classifier: agreement with people's labels, and refusals.

The labels were made from the image itself, so these figures are agreement with an expert-guided clustering, not
chemistry. `pytest tests/core/test_real_frames.py -s` prints them.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.reading import read_micrograph
from stemctx_core.results import DECISIONS, Decision, FrameResult

pytestmark = pytest.mark.real

TI_WSE2 = "TiWSe2_1028_2"
#: The angles are not recorded; these give the frame's own X2/M within the ridge of what fits.
GUESSED_ANGLES_MRAD = {"ADF1": (50.0, 120.0), "ADF2": (35.0, 70.0)}


def context(host: str, dopants: tuple[str, ...], kv: float, inner: float, outer: float) -> ImagingContext:
    k = [known(v, Source.USER) for v in (kv, 30.0, inner, outer)]
    return ImagingContext(host, dopants, *k)


def ti_wse2(folder: Path, detector: str) -> tuple[FrameResult, np.ndarray, tuple[int, int]]:
    image = read_micrograph(folder / f"{TI_WSE2}_{detector}.tif").image
    given = context("WSe2", ("Ti",), 80.0, *GUESSED_ANGLES_MRAD[detector])
    return FrameAnalyzer.shipped().analyze(image, given), image, image.shape


def labels(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with (folder / f"{TI_WSE2}_labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(r["y"]), float(r["x"])] for r in rows]), np.array([r["class_name"] for r in rows])


def precision_recall_f1(told: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    both = np.count_nonzero(told & true)
    precision, recall = both / max(1, np.count_nonzero(told)), both / np.count_nonzero(true)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


@pytest.mark.parametrize(("detector", "least_f1"), [("ADF1", 0.80), ("ADF2", 0.85)])
def test_selenium_vacancies_agree_with_the_labels(detector: str, least_f1: float, real_data: Path) -> None:
    result, _, shape = ti_wse2(real_data, detector)
    assert result.refusal is None
    positions, names = labels(real_data)
    distance, nearest = cKDTree(np.stack([result.sites.y_px, result.sites.x_px], axis=1)).query(positions)
    assert result.calibration is not None
    found = distance * result.calibration.pixel_size_angstrom < 0.8
    inside = np.all((positions > 12) & (positions < np.array(shape) - 12), axis=1)
    assert found[inside].mean() > 0.999
    kept = found & inside
    true = (names == "V_Se")[kept]
    flagged = (result.sites.decision == DECISIONS.index(Decision.FLAG))[nearest[kept]]
    species = np.array([result.species(int(i)) for i in nearest[kept]])
    strict = precision_recall_f1(flagged & (species == "vac_Se"), true)
    single = precision_recall_f1(flagged & np.isin(species, ["vac_Se", "O_Se"]), true)
    print(f"\n{detector}: vac_Se precision {strict[0]:.3f} recall {strict[1]:.3f} F1 {strict[2]:.3f}")
    print(f"{detector}: vac_Se or O_Se precision {single[0]:.3f} recall {single[1]:.3f} F1 {single[2]:.3f}")
    print(f"{detector}: {int((flagged & (species == 'Ti_W')).sum())} flags of Ti, {result.flag_counts()}")
    assert single[2] >= least_f1
    assert (flagged & (species == "Ti_W")).sum() <= 4


def test_a_frame_without_a_lattice_is_refused(real_data: Path) -> None:
    image = read_micrograph(real_data / "OOD_Re_single_atoms_u8.tif").image
    result = FrameAnalyzer.shipped().analyze(image, context("WSe2", ("Re",), 80.0, 70.0, 200.0))
    assert result.refusal is not None
    assert result.refusal.code in {"no_lattice", "calibration", "contrast"}


@pytest.mark.parametrize(
    ("name", "host", "kv"),
    [("Se_implanted_MoS2_60kV_HAADF.tif", "MoS2", 60.0), ("MoSe2_mono_grain_boundary_f32.tif", "MoSe2", 80.0)],
)
def test_other_frames_are_judged_or_refused_in_words(name: str, host: str, kv: float, real_data: Path) -> None:
    image = read_micrograph(real_data / name).image
    result = FrameAnalyzer.shipped().analyze(image, context(host, (), kv, 80.0, 180.0))
    words = result.refusal.reason if result.refusal else f"{result.flag_counts()} {list(result.warnings)}"
    print(f"\n{name}: {words}")
    assert result.refusal is not None or len(result.sites) > 100
