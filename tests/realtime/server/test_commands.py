"""`stemctx analyze` and `stemctx serve` as a user runs them: real processes, the shipped model."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from realtime.client import DefectClient
from realtime.client.supervisor import LocalServer
from realtime.server.endpoint import Endpoint
from stemctx_core.chemistry.classes import HOST_ROLES
from stemctx_core.classifier.classifier import load_bundle, shipped_bundle_path
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.errors import BundleError
from stemctx_core.results import CSV_COLUMNS, Decision, FrameIdentity
from tests.core.frames import Frame, FrameRecipe, make_frame

try:
    load_bundle()
except BundleError as error:
    pytest.skip(str(error), allow_module_level=True)

GEOMETRY = {"--high-tension-kv": "80", "--convergence-mrad": "30", "--inner-mrad": "70", "--outer-mrad": "200"}
MATERIAL = ("--host", "WSe2", "--candidates", "V")
BASELINES = shipped_bundle_path().with_name("baselines")


@pytest.fixture(scope="module")
def scanned() -> Frame:
    return make_frame(FrameRecipe(shape=(256, 256), dose_e_per_angstrom2=1e5, warp_angstrom=0.0, seed=3))


@pytest.fixture
def frame(tmp_path: Path, scanned: Frame) -> Path:
    path = tmp_path / "frame.npy"
    np.save(path, scanned.image)
    return path


def stemctx(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from stemctx_core.cli import main; main()", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )  # fmt: skip


def geometry(**without: str) -> list[str]:
    return [part for name, value in {**GEOMETRY, **without}.items() if value for part in (name, value)]


def analyze(image: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return stemctx(image.parent, "analyze", image.name, *MATERIAL, *geometry(), *more)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_becomes_a_table_and_a_picture(frame: Path, scanned: Frame) -> None:
    ran = analyze(frame, "--pixel-size-angstrom", 0.2, "--output", "results.csv", "--overlay", "overlay.png")
    assert ran.returncode == 0, ran.stderr
    assert left(frame.parent) == {"frame.npy", "results.csv", "overlay.png"}
    assert (frame.parent / "overlay.png").read_bytes().startswith(b"\x89PNG")
    with (frame.parent / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    flagged = np.array([(float(r["y_px"]), float(r["x_px"])) for r in rows if r["decision"] == "flag"])
    defects = scanned.positions_px[[role not in HOST_ROLES for role in scanned.role]]
    inner = np.all((flagged > 20) & (flagged < 235), axis=1)
    near = np.linalg.norm(flagged[inner][:, None] - defects[None], axis=2).min(axis=1) < 4
    assert inner.sum() > 5
    assert near.mean() > 0.8
    assert "not used: no CUDA driver" in ran.stdout or "CUDA" in ran.stdout


def test_a_file_that_states_no_pixel_size_is_told(frame: Path) -> None:
    ran = analyze(frame)
    assert ran.returncode == 0, ran.stderr
    assert "states no pixel size" in ran.stdout
    assert "--pixel-size-angstrom" in ran.stdout


def test_the_pixel_size_of_the_file_is_used_and_one_that_is_off_is_told(tmp_path: Path, scanned: Frame) -> None:
    path = tmp_path / "frame.tif"
    per_nm = 1 / 0.02
    for off, told in ((1.0, False), (1.04, True)):
        tifffile.imwrite(
            path, scanned.image, imagej=True, resolution=(per_nm / off, per_nm / off), metadata={"unit": "nm"}
        )
        ran = analyze(path)
        assert ran.returncode == 0, ran.stderr
        assert ("; the lattice is used" in ran.stdout) is told
        assert ("came from the file" in ran.stdout) is told


@pytest.mark.parametrize("option", ["--high-tension-kv", "--convergence-mrad"])
def test_without_energy_or_convergence_the_frame_is_judged_and_that_is_told(frame: Path, option: str) -> None:
    ran = stemctx(frame.parent, "analyze", frame.name, *MATERIAL, *geometry(**{option: ""}))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{option} was not given): averaged over what is plausible" in ran.stdout
    assert left(frame.parent) == {"frame.npy", "results.csv"}


@pytest.mark.parametrize("option", ["--inner-mrad", "--outer-mrad"])
def test_without_the_detector_it_is_not_known_which_sublattice_is_the_metal(frame: Path, option: str) -> None:
    """Of WSe2 whose defects are too few to tell."""
    ran = stemctx(frame.parent, "analyze", frame.name, *MATERIAL, *geometry(**{option: ""}))
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "Which sublattice is the metal cannot be told" in ran.stdout
    assert left(frame.parent) == {"frame.npy"}


def test_a_frame_of_another_host_is_refused_with_the_one_that_fits(frame: Path) -> None:
    other = ("--host", "MoS2", "--candidates", "V", "--pixel-size-angstrom", "0.2")
    ran = stemctx(frame.parent, "analyze", frame.name, *other, *geometry())
    assert ran.returncode == 2, ran.stdout
    assert "does not look like MoS2" in ran.stdout
    assert "WSe2 fits better" in ran.stdout
    assert left(frame.parent) == {"frame.npy"}


def test_frames_that_cannot_be_judged_are_refusals_and_nothing_is_written(
    tmp_path: Path, scanned: Frame
) -> None:
    noise = np.random.default_rng(0).poisson(20, (256, 256))
    spoiled = scanned.image.copy()
    spoiled[3, 4] = np.nan
    for number, (bad, words) in enumerate(
        [
            (noise, "not judged"),
            (spoiled, "NaN"),
            (np.zeros((64, 64)), "same value"),
            (scanned.image[:9, :9], "9 × 9"),
        ]
    ):
        path = tmp_path / f"{number}.npy"
        np.save(path, bad)
        ran = analyze(path, "--overlay", "overlay.png")
        assert ran.returncode == 2, words
        assert words in ran.stdout
        assert "Traceback" not in ran.stderr
    assert left(tmp_path) == {f"{number}.npy" for number in range(4)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("analyze", "frame.npy", "--host", "CSe2", *geometry()), "Known hosts: MoS2"),
        (("analyze", "frame.npy", "--host", "WSe2", "--candidates", "Xx", *geometry()), "Xx"),
        (("analyze", "frame.npy", "--host", "WSe2", "--candidates", "W", *geometry()), "Name another element"),
        (("analyze", "absent.tif", *MATERIAL, *geometry()), "There is no file"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(**{"--high-tension-kv": "80000"})), "Check the unit"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(**{"--inner-mrad": "220"})), "Swap them"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(), "--output", "no/such/folder.csv"), "Make it first"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(), "--output", "frame.npy"), "Choose other names"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(), "--engine", "abacus"), "auto, onnxruntime, tensorrt"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(), "--bundle", "."), "cannot be read"),
        (("analyze", "frame.npy", *MATERIAL, *geometry(), "--bundle", BASELINES), "Use a bundle of this version"),
        (("serve", "--host", "0.0.0.0", "--port", "0"), "CURVE keys"),
        (("serve", "--port", "70000"), "65535"),
        (("serve", "--port", "0", "--threads", "0"), "1 or more"),
    ],
    ids=lambda value: " ".join(map(str, value[:3])) if isinstance(value, tuple) else value,
)  # fmt: skip
def test_what_cannot_be_done_names_the_fix(frame: Path, arguments: tuple[object, ...], words: str) -> None:
    ran = stemctx(frame.parent, *arguments)
    assert ran.returncode == 2, ran.stdout
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert left(frame.parent) == {"frame.npy"}


def test_a_server_that_is_not_there_is_told(frame: Path) -> None:
    with Endpoint() as endpoint:
        port = endpoint.port
    ran = analyze(frame, "--server", f"127.0.0.1:{port}", "--timeout-s", 0.5)
    assert ran.returncode == 2
    assert f"stemctx serve --port {port}" in ran.stderr
    assert left(frame.parent) == {"frame.npy"}


def test_a_port_in_use_is_told_before_the_model_is_loaded(frame: Path) -> None:
    with Endpoint() as taken:
        ran = stemctx(frame.parent, "serve", "--port", taken.port)
    assert ran.returncode == 2
    assert f"Port {taken.port}" in ran.stderr
    assert "--port" in ran.stderr


def test_serve_judges_what_analyze_sends_and_ends_with_ctrl_c(frame: Path) -> None:
    alone = analyze(frame, "--output", "alone.csv")
    assert alone.returncode == 0, alone.stderr
    server = subprocess.Popen(
        [sys.executable, "-c", "from stemctx_core.cli import main; main()", "serve", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[2].rstrip(".")
        ran = analyze(frame, "--server", address, "--output", "served.csv")
        assert ran.returncode == 0, ran.stderr
    finally:
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err) == (0, "Stopped.\n", "")
    assert (frame.parent / "served.csv").read_text() == (frame.parent / "alone.csv").read_text()


def test_the_shipped_model_judges_a_frame_through_its_own_server(scanned: Frame) -> None:
    def user(value: float) -> Known:
        return Known(value, Source.USER)

    context = ImagingContext("WSe2", ("V",), user(80), user(30), user(70), user(200), user(0.2))
    with LocalServer(threads=1) as server, DefectClient(server.address, timeout_s=60) as client:
        assert server.pid is not None
        assert os.name != "posix" or psutil.Process(server.pid).nice() > os.nice(0)
        whole = client.analyze(scanned.image, context, FrameIdentity("scan", 1))
        upper = client.analyze(scanned.image, context, FrameIdentity("scan", 2, 128, (256, 256)))
        assert client.server is not None
        assert client.server.model_sha256 == load_bundle().sha256
    assert whole.refusal is None
    assert len(whole.where(Decision.FLAG)) > 5
    assert whole.engine.reason
    assert upper.refusal is None
    assert 0.4 < len(upper.sites) / len(whole.sites) < 0.6
    assert upper.frame == FrameIdentity("scan", 2, 128, (256, 256))
    assert float(upper.sites.y_px.max()) < 128
