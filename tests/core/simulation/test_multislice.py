"""The reference simulation, the library built from it, and the superposition that the renderer rests on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core.chemistry import columns
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.simulating.library_commands import _plan
from stemctx_core.simulation.building.build import build_library
from stemctx_core.simulation.building.held_out_probes import interpolation_errors
from stemctx_core.simulation.building.parts import Parts
from stemctx_core.simulation.building.plan import BuildPlan
from stemctx_core.simulation.finished import save_part
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.multislice import (
    MultisliceSettings,
    column_response,
    probe_radii_angstrom,
    required_sampling_angstrom,
    ring_response,
)
from stemctx_core.simulation.nodes import Node, relatives
from stemctx_core.simulation.optics import Optics

HAADF = (70, 200)
MAADF = (50, 120)
COMMAND = [sys.executable, "-c", "from stemctx_core.cli import main; main()", "simulate", "library"]


def detected(rings: NDArray[np.float32], detector: tuple[int, int]) -> NDArray[np.float64]:
    """Sum over the rings of a detector; the first ring starts at 35 mrad."""
    signal_: NDArray[np.float64] = rings[..., (detector[0] - 35) // 5 : (detector[1] - 35) // 5].sum(
        axis=-1, dtype=float
    )
    return signal_


def shipped_at_rest(column: str) -> NDArray[np.float32]:
    """(radii, rings) of a column at 80 kV whose atoms do not move."""
    return shipped_library().rings_at_rest(column, 80)[2][0].astype(np.float32)


@pytest.mark.abtem
@pytest.mark.parametrize("column", ["V", "Se+Se"])
def test_a_column_is_what_the_library_holds(column: str) -> None:
    response = column_response(column, (0,), BuildPlan().settings(80))[0]
    for detector in (HAADF, MAADF):
        shipped = detected(shipped_at_rest(column), detector)
        np.testing.assert_allclose(detected(response, detector), shipped, atol=0.005 * shipped[0])


@pytest.mark.abtem
def test_contrast_does_not_hang_on_the_box() -> None:
    # A ring of 5 mrad is under two pixels wide in reciprocal space (3 mrad in a box of 14 Å), so that its edges
    # are jagged: a box twice as wide moves every peak by up to 2 %, the same way for all columns.
    wide = MultisliceSettings(80, box_angstrom=28.0, grid_points=700)
    at = 350 * wide.sampling_angstrom
    atoms = {
        "W": [("W", at, at, 0.0)],
        "V": [("V", at, at, 0.0)],
        "Se+Se": [("Se", at, at, -0.5), ("Se", at, at, 0.5)],
    }
    peaks = {
        c: ring_response(a, columns.separation_angstrom(c), np.array([[at, at]]), wide)
        for c, a in atoms.items()
    }
    for detector in (HAADF, MAADF):
        moved = {
            c: detected(p, detector)[0] / detected(shipped_at_rest(c), detector)[0] for c, p in peaks.items()
        }
        assert all(0.975 < m < 1.005 for m in moved.values())
        assert moved["V"] / moved["W"] == pytest.approx(1, abs=0.005)
        assert moved["Se+Se"] / moved["W"] == pytest.approx(1, abs=0.005)


@pytest.mark.abtem
def test_a_grid_too_coarse_for_the_detector_is_an_error() -> None:
    coarse = MultisliceSettings(200, grid_points=280)
    with pytest.raises(
        LibraryError, match=r"cuts all signal beyond 1\d\d mrad at 200 kV.*sampling of 0\.033"
    ) as caught:
        column_response("V", (0,), coarse)
    assert "419 pixels" in str(caught.value)


@pytest.mark.abtem
@pytest.mark.parametrize("kv", [30.0, 60.0, 80.0, 120.0, 200.0, 300.0])
def test_every_plan_reaches_its_outer_angle(kv: float) -> None:
    import abtem

    settings = BuildPlan().settings(kv)
    probe = abtem.Probe(energy=kv * 1e3, semiangle_cutoff=30, extent=14.0, gpts=settings.grid_points)
    assert min(probe.cutoff_angles) >= settings.outer_mrad
    assert settings.sampling_angstrom <= required_sampling_angstrom(kv, settings.outer_mrad)


@pytest.mark.abtem
def test_superposition_of_columns() -> None:
    """A piece of WSe2 in one multislice run against the sum of its columns from the library."""
    settings = MultisliceSettings(80)
    pixel = settings.sampling_angstrom
    # Real distances, put on pixels of the potential: 1.9 Å between unlike columns, 3.3 Å between like ones.
    like, unlike = round(3.32 / pixel), round(1.917 / pixel)
    half, rise = round(1.66 / pixel), round(2.875 / pixel)
    low = round(0.9585 / pixel)
    middle = settings.grid_points // 2
    metal = [(0, 0), (like, 0), (-like, 0), (half, rise), (-half, rise), (half, -rise), (-half, -rise)]
    chalcogen = [(0, unlike), (half, -low), (-half, -low), (like, unlike), (-like, unlike)]
    atoms = [("W", (middle + i) * pixel, (middle + j) * pixel, 0.0) for i, j in metal]
    sites = [("W", a[1], a[2]) for a in atoms]
    for i, j in chalcogen:
        x, y = (middle + i) * pixel, (middle + j) * pixel
        atoms += [("Se", x, y, -0.5), ("Se", x, y, 0.5)]
        sites.append(("Se+Se", x, y))
    at = middle * pixel
    across = (
        np.stack(np.meshgrid(np.linspace(0, 1.66, 5), np.linspace(-1.2, 1.917, 6)), axis=-1).reshape(-1, 2) + at
    )
    on_columns = np.array([[x, y] for _, x, y in sites if np.hypot(x - at, y - at) < 2])
    probes = np.concatenate([on_columns, across])
    full = ring_response(atoms, columns.separation_angstrom("Se+Se"), probes, settings)

    radii = probe_radii_angstrom()
    added = np.zeros_like(full, dtype=float)
    for name, x, y in sites:
        spline = CubicSpline(radii, shipped_at_rest(name), axis=0)
        added += spline(np.minimum(np.hypot(probes[:, 0] - x, probes[:, 1] - y), radii[-1]))
    for detector in (HAADF, MAADF):
        true, summed = detected(full, detector), detected(added, detector)
        assert np.abs(summed - true).max() < 0.02 * true.max()
        sites_true = true[: len(on_columns)]
        np.testing.assert_allclose(summed[: len(on_columns)], sites_true, rtol=0.02)


def _parts(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npy") if ".tmp" not in p.name}


@pytest.mark.abtem
def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    output, work = tmp_path / "small.npz", tmp_path / "parts"
    options = ["--high-tension-kv", "80", "--column", "V", "--column", "Cr", "--convergence-mrad", "30"]
    command = [*COMMAND, "--output", str(output), "--work-folder", str(work), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 300
        while not (work.is_dir() and _parts(work)):
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = _parts(work)
    assert 1 <= len(finished) < 3
    assert not output.exists()

    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "Wrote" in again.stdout
    after = _parts(work)
    assert {name: after[name] for name in finished} == finished
    assert len(after) == 3

    built = ResponseLibrary(output)
    assert built.columns == ("V", "Cr")
    for column in built.columns:
        np.testing.assert_allclose(
            built.profile(column, 80, *HAADF, 0.45),
            shipped_library().profile(column, 80, *HAADF, 0.45),
            rtol=0.005,
        )


@pytest.mark.abtem
def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    plan = BuildPlan((80.0,), ("Cr",))
    (tmp_path / "Cr_80kv_30mrad_x1.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(LibraryError, match=r"Cr_80kv_30mrad_x1\.npy cannot be read.*Delete it"):
        build_library(plan, tmp_path / "out.npz", tmp_path)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("energies", "keys", "convergence", "says"),
    [
        ([80_000.0], None, 30.0, "Is it in volts"),
        (None, None, 0.03, "Is it in radians"),
        (None, ["Xx"], 30.0, "no element 'Xx'"),
        (None, ["vacant"], 30.0, "not a column of one or two atoms"),
        (None, ["Se+Se+Se"], 30.0, "not a column of one or two atoms"),
        (None, ["Se+O"], 30.0, "Swap the two"),
    ],
)
def test_bad_plans(energies: list[float] | None, keys: list[str] | None, convergence: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        _plan(energies, keys, [convergence])


@pytest.mark.parametrize("value", [-2.0, 0.0, float("nan"), 3e4])
def test_bad_aberrations(value: float) -> None:
    with pytest.raises(InputError, match="nm defocus cannot be"):
        _plan(None, None, None, [value])
    with pytest.raises(InputError, match="nm astigmatism cannot be"):
        _plan(None, None, None, None, [value])


def test_a_plan_with_nodes() -> None:
    plan = _plan([80.0], ["W", "Se+Se"], [30.0, 25.0], [4.0], [2.0])
    assert set(plan.nodes[80.0]) == {
        Node(25.0), Node(25.0, 4.0), Node(30.0, 4.0), Node(30.0, 0.0, 2.0), Node(30.0, 4.0, 2.0)
    }  # fmt: skip
    names = [job.name for job in plan.jobs()]
    assert len(set(names)) == len(names)
    assert "Se+Se 80 kV, 30 mrad, defocus 4 nm, astigmatism 2 nm" in names


def test_metals_stand_for_one_another_out_of_focus() -> None:
    every = columns.standard_columns()
    assert relatives("Mo", Node(25.0), every) == {}
    assert relatives("W", Node(30.0, 4.0), every) == {}
    assert relatives("Mo", Node(30.0, 4.0), ("Mo", "Se+Se")) == {}
    assert relatives("Mo", Node(30.0, 4.0), every) == pytest.approx({"Zn": 0.2, "Rh": 0.8})
    assert relatives("S+Se", Node(30.0, 4.0), every) == {"S+S": 0.5, "Se+Se": 0.5}
    assert relatives("O+Se", Node(30.0, 4.0), every) == {}


def test_a_work_folder_of_another_grid_is_refused(tmp_path: Path) -> None:
    Parts(tmp_path).claim(BuildPlan().settings(80))
    Parts(tmp_path).claim(BuildPlan().settings(80))
    with pytest.raises(LibraryError, match=r"another grid \(grid_points differ, see grid_80kv.json\)"):
        Parts(tmp_path).claim(MultisliceSettings(80, grid_points=400))


def test_a_full_disk_stops_a_build_cleanly(tmp_path: Path) -> None:
    (tmp_path / f"V.{os.getpid()}.tmp.npy").symlink_to("/dev/full")
    with pytest.raises(LibraryError, match=r"No space left on device.*goes on where it was"):
        save_part(tmp_path / "V.npy", np.zeros(300_000, np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.abtem
@pytest.mark.parametrize(
    ("probe", "limit_percent"),
    # The part that turns hangs on one defocus, 4 nm: an astigmatic probe at another is known less well.
    [(Node(27.5), 1.0), (Node(30.0, 3.0), 1.0), (Node(30.0, 3.0, 3.0), 2.0)],
)
def test_a_probe_between_the_nodes(probe: Node, limit_percent: float) -> None:
    found = interpolation_errors(shipped_library(), 80.0, ("V",), (probe,))
    assert len(found) == 2
    for error in found:
        assert abs(error.moved_percent) > 4
        assert error.worst_percent < limit_percent
        assert error.turning_percent < limit_percent


@pytest.mark.abtem
def test_a_small_library_with_nodes(tmp_path: Path) -> None:
    plan = BuildPlan((80.0,), ("V",), nodes={80.0: (Node(30.0, 4.0), Node(30.0, 4.0, 2.0))})
    build_library(plan, tmp_path / "out.npz", tmp_path / "parts")
    built, held = ResponseLibrary(tmp_path / "out.npz"), shipped_library()
    optics = Optics(80, 30, *HAADF, 0.45, 4, 2)
    for ask in (ResponseLibrary.response, ResponseLibrary.astigmatic):
        ours, theirs = ask(built, "V", optics), ask(held, "V", optics)
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(ours, theirs, atol=0.005 * held.profile("V", 80, *HAADF, 0.45)[0])


def test_the_plan_without_options_is_the_shipped_library() -> None:
    plan = _plan(None, None)
    assert plan.high_tensions_kv == shipped_library().high_tensions_kv
    assert set(plan.columns) == set(shipped_library().columns)
    for kv in plan.high_tensions_kv:
        assert set(shipped_library().grid(kv).nodes) <= set(plan.nodes[kv])
    for kv in plan.high_tensions_kv:
        assert (
            plan.settings(kv).sampling_angstrom == shipped_library().provenance["sampling_angstrom"][f"{kv:g}"]
        )
