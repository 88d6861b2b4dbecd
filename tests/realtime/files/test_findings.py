"""A folder judged in one call from Python, and what its findings give."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from realtime.files import Declared, Findings, JudgeSettings, Outcome, analyze_files
from realtime.files.densities import densities
from stemctx_core.chemistry.classes import priors
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.errors import BundleError, InputError
from stemctx_core.results import CSV_COLUMNS
from tests.core.frames import FrameRecipe, make_frame

try:
    load_bundle()
except BundleError as error:
    pytest.skip(str(error), allow_module_level=True)

OPTIONS = Declared(
    host="WSe2", candidates=("V",), high_tension_kv=80, convergence_mrad=30, inner_mrad=70, outer_mrad=200,
    pixel_size_angstrom=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames, one of them with a declaration of its own, and a file that is none."""
    folder = tmp_path_factory.mktemp("frames")
    for seed, name in enumerate(("a", "b")):
        recipe = FrameRecipe(shape=(160, 160), dose_e_per_angstrom2=1e5, warp_angstrom=0.0, seed=seed)
        np.save(folder / f"{name}.npy", make_frame(recipe).image)
    (folder / "b.toml").write_text("candidates = []\n")
    (folder / "broken.tif").write_bytes(b"II*\0")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    options = Declared(
        **{name: getattr(OPTIONS, name) for name in OPTIONS.__struct_fields__} | {"candidates": None}
    )
    (folder / "a.toml").write_text('candidates = ["V"]\n')
    return analyze_files(str(folder), options)


def test_a_folder_is_judged_in_one_call(found: Findings) -> None:
    assert [o.label for o in found.judged] == ["a.npy", "b.npy"]
    (left,) = found.refused
    assert left.label == "broken.tif"
    assert left.refusal == left.error != ""
    assert (left.material, [o.material for o in found.judged]) == ("", ["WSe2 with V", "WSe2"])


def test_rows_are_of_sites_and_of_images(found: Findings) -> None:
    sites, images = found.sites(), found.images()
    assert len(sites) == sum(len(o.result.sites) for o in found.judged if o.result)
    assert tuple(sites[0]) == ("file", "image", "frame", *CSV_COLUMNS)
    assert [row["judged"] for row in images] == [True, True, False]
    flagged = {row["file"]: row["flags"] for row in images if row["judged"]}
    assert all(sum(r["decision"] == "flag" for r in sites if r["file"] == f) == n for f, n in flagged.items())


def test_densities_are_kept_apart_by_material(found: Findings) -> None:
    by_material = found.densities()
    assert list(by_material) == ["WSe2 with V", "WSe2"]
    assert "V_W" not in {d.species for d in by_material["WSe2"]}
    first = found.judged[0].result
    assert first is not None
    assert by_material["WSe2 with V"] == densities(first)


def test_everything_is_written_and_nothing_over_an_image(found: Findings, folder: Path, tmp_path: Path) -> None:
    written = found.write(tmp_path / "sites.csv", report=tmp_path / "report.html")
    assert [p.name for p in written] == ["sites.csv", "sites_images.csv", "report.html"]
    with written[0].open() as file:
        assert len(list(csv.DictReader(file))) == len(found.sites())
    page = written[2].read_text()
    assert "broken.tif" in page
    assert "prefers-color-scheme: dark" in page
    with pytest.raises(InputError, match="a file each"):
        found.write(folder / "a.npy")
    with pytest.raises(InputError, match="no folder"):
        found.write(tmp_path / "nowhere" / "sites.csv")


def test_a_notebook_shows_it_as_a_table(found: Findings) -> None:
    shown = found._repr_html_()
    assert shown.count("<tr>") == 1 + len(found.outcomes)
    assert "not judged" in shown
    assert repr(found) == "Findings(2 images judged, 1 not)"


def test_images_of_one_name_are_told_apart_by_their_folders() -> None:
    left = [Outcome((Path(name),), error="broken") for name in ("day/monday/a.tif", "day/tuesday/a.tif")]
    shown = Findings(tuple(left))._repr_html_()
    assert ">monday/a.tif<" in shown
    assert ">tuesday/a.tif<" in shown
    assert ">a.tif<" in Findings(tuple(left[:1]))._repr_html_()
    assert Findings(())._repr_html_().count("<tr>") == 1


def test_the_prior_of_the_settings_is_judged_by(folder: Path) -> None:
    (seen,) = analyze_files([folder / "a.npy"], OPTIONS, JudgeSettings(prevalence=("vac_Se=0.08",))).judged
    assert seen.result is not None
    assert seen.result.prior == priors(seen.result.candidates, {"vac_Se": 0.08})


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        analyze_files(tmp_path)
