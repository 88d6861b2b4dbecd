"""Batches of files: what is judged, what is refused, and the tables and the page that come of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from rich.console import Console
from scipy.stats import poisson

from realtime.files import Judge, analyze
from realtime.files.batch import Stack
from realtime.files.densities import cell_cm2, densities, interval, pooled
from realtime.files.finding import find_files, scan_of
from realtime.files.judging import JudgeSettings
from realtime.files.running import ALL_JUDGED, NONE_JUDGED, SOME_JUDGED, Request, run
from realtime.files.writing import Answers
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.errors import BundleError, InputError
from stemctx_core.reading.declared import Declared, DetectorAngles
from stemctx_core.results import Decision
from tests.core.frames import MAADF, FrameRecipe, make_frame

try:
    load_bundle()
except BundleError as error:
    pytest.skip(str(error), allow_module_level=True)

OPTIONS = Declared(
    host="WSe2", candidates=("V",), high_tension_kv=80, convergence_mrad=30, inner_mrad=70, outer_mrad=200,
    pixel_size_angstrom=0.2,
)  # fmt: skip


def image(seed: int = 3, **changes: Any) -> np.ndarray:
    recipe = FrameRecipe(shape=(200, 200), dose_e_per_angstrom2=1e5, warp_angstrom=0.0, seed=seed, **changes)
    return make_frame(recipe).image


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return image()


def request(folder: Path, *paths: Path, **changes: Any) -> Request:
    written = {name: changes.pop(name) for name in Answers.__struct_fields__ if name in changes}
    answers = Answers(**({"output": folder / "sites.csv"} | written))
    return Request(paths, changes.pop("options", OPTIONS), JudgeSettings(), answers, **changes)


def test_a_folder_is_judged_and_what_cannot_be_read_or_judged_is_told(
    tmp_path: Path, frame: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    (frames / "deeper").mkdir(parents=True)
    np.save(frames / "a.npy", frame)
    tifffile.imwrite(frames / "deeper" / "b.tif", frame)
    (frames / "broken.tif").write_bytes(b"II*\0")
    np.save(frames / "noise.npy", np.random.default_rng(0).poisson(20, (200, 200)))
    (frames / "notes.txt").write_text("not an image")
    report = tmp_path / "report.html"
    code = run(request(tmp_path, frames, recursive=True, report=report), Console())
    assert code == SOME_JUDGED
    said = capsys.readouterr().out
    assert "broken.tif was not judged" in said
    assert "noise.npy was not judged" in said
    assert "2 images judged, 2 not" in said
    with (tmp_path / "sites.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {Path(r["file"]).name for r in rows} == {"a.npy", "b.tif"}
    with (tmp_path / "sites_images.csv").open() as file:
        images = {Path(r["file"]).name: r for r in csv.DictReader(file)}
    assert images["broken.tif"]["refusal_code"] == "unreadable"
    assert images["noise.npy"]["judged"] == "False"
    assert float(images["a.npy"]["vac_Se_per_cm2"]) > 0
    assert images["a.npy"]["inner_mrad_source"] == "user: --inner-mrad"
    page = report.read_text()
    assert page.count('class="piece"') == int(images["a.npy"]["flags"]) + int(images["b.tif"]["flags"])
    assert "broken.tif" in page
    assert 'src="http' not in page
    assert not list(tmp_path.glob("*.part"))


def test_parquet_holds_what_csv_holds(tmp_path: Path, frame: np.ndarray) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    np.save(tmp_path / "a.npy", np.stack([frame, frame]))
    for name in ("sites.csv", "sites.parquet"):
        assert (
            run(request(tmp_path, tmp_path / "a.npy", output=tmp_path / name), Console(quiet=True))
            == ALL_JUDGED
        )
    table = parquet.read_table(tmp_path / "sites.parquet").to_pylist()
    with (tmp_path / "sites.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(table) == len(rows)
    assert [str(r["frame"]) for r in table] == [r["frame"] for r in rows]
    assert [r["species"] for r in table] == [r["species"] for r in rows]
    assert parquet.read_table(tmp_path / "sites_images.parquet").num_rows == 2


def test_a_folder_of_nothing_but_refusals_ends_with_that_code(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")
    assert run(request(tmp_path, tmp_path), Console(quiet=True)) == NONE_JUDGED


def test_the_frames_of_a_stack_are_judged_alone_summed_or_as_one_field(tmp_path: Path) -> None:
    stack = np.stack([image(dose) for dose in (3, 3, 3)])
    np.save(tmp_path / "stack.npy", stack)
    with Judge() as judge:
        told = {
            s: list(analyze([tmp_path / "stack.npy"], OPTIONS, judge, stack=s)) for s in (Stack.EACH, Stack.SUM, Stack.FIELD)
        }  # fmt: skip
    assert [o.frame for o in told[Stack.EACH]] == [0, 1, 2]
    for stack_kind, outcomes in told.items():
        assert all(o.judged for o in outcomes), stack_kind
    (field,) = told[Stack.FIELD]
    assert field.result is not None
    assert field.result.frames_accumulated == 3


def test_detectors_of_one_scan_are_judged_together_from_one_file_or_two(
    tmp_path: Path, frame: np.ndarray
) -> None:
    other = image(optics=MAADF)
    np.save(tmp_path / "scan_1_HAADF.npy", frame)
    np.save(tmp_path / "scan_1_MAADF.npy", other)
    np.save(tmp_path / "other.npy", frame)
    options = Declared(
        host="WSe2", candidates=("V",), high_tension_kv=80, convergence_mrad=30, together=True,
        detectors={"HAADF": DetectorAngles(70, 200), "MAADF": DetectorAngles(50, 120)},
    )  # fmt: skip
    outcomes = list(analyze([tmp_path], options))
    both = next(o for o in outcomes if len(o.files) == 2)
    assert both.judged, both.refusal
    assert both.image_name == "HAADF + MAADF"
    assert [o.error for o in outcomes if o is not both] == [
        f"{tmp_path / 'other.npy'} holds no image of HAADF, MAADF. It holds one without a name."
    ]


def test_files_are_found_by_name_folder_and_pattern(tmp_path: Path) -> None:
    for name in ("b.tif", "a.npy", "c.txt", ".hidden.tif"):
        (tmp_path / name).touch()
    assert [p.name for p in find_files([tmp_path])] == ["a.npy", "b.tif"]
    assert [p.name for p in find_files([tmp_path / "*.tif", tmp_path / "b.tif"])] == ["b.tif"]
    for absent in (tmp_path / "*.dm4", tmp_path / "no.tif"):
        with pytest.raises(InputError):
            find_files([absent])
    same = {scan_of(Path(n), ("ADF1", "ADF2")) for n in ("x_2_ADF1.tif", "x_2_ADF2.tif")}
    assert len(same) == 1


@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_the_interval_of_a_count_covers_as_it_says(count: int) -> None:
    low, high = interval(count)
    assert poisson.cdf(count, high) == pytest.approx(0.025, abs=1e-6)
    if count:
        assert poisson.sf(count - 1, low) == pytest.approx(0.025, abs=1e-6)
    else:
        assert low == 0


def test_densities_are_flags_on_the_area_that_was_decided(tmp_path: Path, frame: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", frame)
    (outcome,) = analyze([tmp_path / "a.npy"], OPTIONS)
    result = outcome.result
    assert result is not None
    found = {d.species: d for d in densities(result)}
    vacancy = found["vac_Se"]
    chalcogen = result.sites.sublattice == 1
    decided = chalcogen & ~np.isin(np.arange(len(result.sites)), result.where(Decision.ABSTAIN))
    assert vacancy.flags == result.flag_counts()["vac_Se"]
    assert vacancy.area_cm2 == pytest.approx(decided.sum() * cell_cm2("WSe2"))
    twice = {d.species: d for d in pooled([vacancy, vacancy])}["vac_Se"]
    assert (twice.flags, twice.per_cm2) == (2 * vacancy.flags, pytest.approx(vacancy.per_cm2))
    assert twice.high_per_cm2 < vacancy.high_per_cm2
