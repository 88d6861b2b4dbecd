"""Tier against tier: the arithmetic of errors, the gate, and the command from end to end on one cell."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stemctx_core.chemistry import materials
from stemctx_core.cli import build
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.truth.held_out import held_out_cells, small_cell
from stemctx_core.simulation.truth.reference import site_positions
from stemctx_core.simulation.truth.superposition import frozen_sum, thermal_sum
from stemctx_core.validation.against_reference import DETECTORS, SiteError, host_metals, summaries
from stemctx_core.validation.classifier_cost import ClassifierCost
from stemctx_core.validation.outcome import Validation
from stemctx_core.validation.report import write

HAADF = DETECTORS["HAADF"]
PROVENANCE = {"library_sha256": "0" * 64, "deltas_sha256": None, "configurations": 2, "abtem": "1"}


def a_site(site: int, error: float) -> SiteError:
    return SiteError(
        "WSe2-point",
        80.0,
        site,
        f"site {site}",
        "WSe2",
        "W",
        "W",
        "HAADF",
        "columns",
        100.0,
        error,
        0.1,
        error,
        error,
    )


def test_the_control_variate_averages_to_the_columns() -> None:
    """Over many thermal configurations the frozen superposition is the thermal one: the estimate has no bias."""
    held_out = next(c for c in held_out_cells() if c.name == "WSe2-mixed")
    cell, kv = held_out.cell, held_out.probe.high_tension_kv
    sites = [*cell.defects()[:6], 0, 1]
    positions = site_positions(cell)[sites]
    library = shipped_library()
    drawn = np.stack(
        [frozen_sum(library, cell, held_out.atoms(k), held_out.grid, kv, HAADF, positions) for k in range(150)]
    )
    expected = thermal_sum(library, cell, kv, HAADF, positions)
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    unit = thermal_sum(library, cell, kv, HAADF, cell.places_angstrom[host_metals(cell)]).mean()
    assert np.abs(drawn.mean(axis=0) - expected).max() < 0.02 * unit
    assert np.median(np.abs(drawn.mean(axis=0) - expected) / error) < 1.5


def test_a_lone_column_is_its_profile() -> None:
    cell = small_cell().cell
    metal = int(host_metals(cell)[0])
    lone = cell.with_columns({i: "vacant" for i in range(len(cell.sites)) if i != metal})
    profile = shipped_library().profile("W", 80.0, *HAADF, 0.0)
    at = cell.places_angstrom[metal] + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(
        thermal_sum(shipped_library(), lone, 80.0, HAADF, at), profile[[0, 20, 40]], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("errors", "cost", "says"),
    [
        ([0.2, -0.5, 2.9], 0.2, []),
        ([0.2, -0.5, -3.1], 0.2, ["largest error in HAADF is 3.10 %", "site 2"]),
        ([1.2, -1.5, 2.9], 0.2, ["median error in HAADF is 1.50 %"]),
        ([0.2, -0.5, 2.9], 0.4, ["cost the classifier 0.40 points at 10⁴ e/Å²"]),
    ],
)
def test_the_gate(errors: list[float], cost: float, says: list[str], tmp_path: Path) -> None:
    sites = [a_site(i, e) for i, e in enumerate(errors)]
    found = Validation(
        sites, [], {}, [ClassifierCost(1e4, 10_000, 0.9, 0.9 - cost / 100, cost, 0.05)], PROVENANCE
    )
    failures = " ".join(found.failures())
    assert bool(failures) == bool(says)
    assert all(s in failures for s in says)
    write(found, tmp_path)
    page = (tmp_path / "validation.md").read_text()
    assert ("**Passes.**" in page) == (not says)
    document = json.loads((tmp_path / "validation.json").read_text())
    assert document["passes"] == (not says)
    assert len(document["sites"]) == 3


def test_figures_of_a_tier() -> None:
    (found,) = summaries([a_site(0, -2.0), a_site(1, 0.5), replace(a_site(2, 1.0), centre_percent=4.0)])
    assert (found.median_percent, found.maximum_percent, found.worst) == (1.0, 2.0, "site 0")
    assert found.centre_maximum_percent == 4.0
    assert found.passes()


@pytest.mark.abtem
def test_the_quick_run_resumes_and_a_wrong_library_fails(tmp_path: Path) -> None:
    import shutil
    from importlib import resources

    from stemctx_core.simulation.storage import write_library

    parts = tmp_path / "parts"
    run = CliRunner()
    command = ["simulate", "validate", "--quick", "--work-folder", str(parts), "--output"]
    first = run.invoke(build(), [*command, str(tmp_path / "report")])
    assert first.exit_code == 0, first.output
    document = json.loads((tmp_path / "report" / "validation.json").read_text())
    assert document["passes"]
    assert document["quick"]
    assert document["provenance"]["library_sha256"] == shipped_library().sha256
    assert {(s["tier"], s["detector"]) for s in document["summary"]} == {
        (tier, detector) for tier in ("columns", "deltas") for detector in DETECTORS
    }
    assert len(document["sites"]) == 4 * 60
    page = (tmp_path / "report" / "validation.md").read_text()
    assert "WSe2-point 80 kV, site" in page
    assert (tmp_path / "report" / "site_errors.png").stat().st_size < 300_000
    kept = {p.name: p.stat().st_mtime_ns for p in parts.iterdir()}
    assert len(kept) == 1

    # The same parts, another library: chalcogen pairs that scatter a tenth too much.
    shipped = Path(str(resources.files("stemctx_core") / "bundles" / "responses.npz"))
    wrong = tmp_path / "wrong.npz"
    with np.load(shipped, allow_pickle=False) as stored:
        arrays = {n: stored[n] * np.float32(1.1) if n.startswith("pairs_") else stored[n] for n in stored.files}
    provenance = json.loads(shipped.with_suffix(".json").read_text())
    write_library(wrong, arrays, provenance)
    second = run.invoke(build(), [*command, str(tmp_path / "second"), "--library", str(wrong)])
    assert second.exit_code == 1
    assert "largest error in HAADF" in second.output
    assert {p.name: p.stat().st_mtime_ns for p in parts.iterdir()} == kept
    shutil.rmtree(parts)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = CliRunner().invoke(
        build(), ["simulate", "validate", "--quick", "--output", str(blocked / "report")]
    )
    assert result.exit_code != 0


def test_sites_are_named_by_what_stands_there() -> None:
    held_out = small_cell()
    names = [held_out.site_name(i) for i in held_out.cell.defects()]
    assert all(n.startswith("WSe2-point 80 kV, site ") and " on " in n for n in names)
    assert materials.host("WSe2") == held_out.cell.host
