"""Datasets on disk: the same bytes whoever writes them, resumed, verified, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from stemctx_core.dataset.commands import register
from stemctx_core.dataset.distribute import cluster, make_here, make_on, make_shard
from stemctx_core.dataset.folder import faults, missing_shards, prepare, read_configuration, write_index
from stemctx_core.dataset.kinds import Imperfections, Kind, Sampling
from stemctx_core.dataset.recipe import CaseChoice, DatasetRecipe
from stemctx_core.dataset.scenes import labelled_scene
from stemctx_core.dataset.shards import Configuration, configuration_here, read_record, record_path, shard_name
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.simulation.library import shipped_library

_NEEDED = "is not installed: it is of the extra 'dataset'"
zarr = pytest.importorskip("zarr", reason=f"zarr {_NEEDED}")
zarr_sync = pytest.importorskip("zarr.core.sync", reason=f"zarr {_NEEDED}")
pq = pytest.importorskip("pyarrow.parquet", reason=f"pyarrow {_NEEDED}")
pytest.importorskip("distributed", reason=f"distributed {_NEEDED}")
resource = pytest.importorskip("resource", reason="file size limits exist on Unix only")

_RECIPE = DatasetRecipe(
    samples=590,
    samples_per_scene=50,
    samples_per_shard=100,
    choice=CaseChoice(hosts=("WSe2", "MoS2"), dopants=("V", "Re"), high_tensions_kv=(80.0,)),
)


@pytest.fixture(scope="module", autouse=True)
def _one_zarr_thread() -> Iterator[None]:
    """zarr keeps a pool of threads for the whole process: start its only one here, and stop it at the end."""
    with zarr.config.set({"threading.max_workers": 1}):
        zarr.array(np.zeros(2))[:]
        yield
        zarr_sync.cleanup_resources()


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return configuration_here(_RECIPE, shipped_library())


@pytest.fixture(scope="module")
def written(configuration: Configuration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "set"
    prepare(folder, configuration)
    assert sum(make_here(folder, configuration, None, range(_RECIPE.shards))) == _RECIPE.samples
    assert write_index(folder, configuration) == _RECIPE.samples
    return folder


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    commands = typer.Typer()
    register(commands)
    return commands


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _run(app: typer.Typer, *arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, f"{result.output}{result.exception or ''}"


def test_a_shard_holds_its_scenes(written: Path, configuration: Configuration) -> None:
    group = zarr.open_group(written / shard_name(1), mode="r")
    record = read_record(written, 1)
    assert record is not None
    assert record.configuration == configuration
    for place, scene in enumerate(record.scenes):
        expected = labelled_scene(shipped_library(), _RECIPE, scene.number)
        rows = slice(scene.first, scene.last)
        np.testing.assert_array_equal(group["electrons"][rows].reshape(-1, 1024), expected.electrons)
        np.testing.assert_array_equal(group["label"][rows], expected.label)
        np.testing.assert_array_equal(group["weight"][rows], expected.weight)
        assert (group["case"][rows] == expected.case).all()
        context = dict(zip(group.attrs["context"], group["scene_context"][place], strict=True))
        assert context == expected.context
        assert group["scene_number"][place] == scene.number
        named = group.attrs["cases"][str(expected.case)]
        assert named["candidates"] == [c.species for c in expected.truth.candidates]
    assert group["electrons"].dtype == np.uint16
    assert zarr.open_group(written / shard_name(1), mode="r").metadata.zarr_format == 3


def test_the_index_finds_every_sample(written: Path, configuration: Configuration) -> None:
    index = pq.read_table(written / "index.parquet").to_pylist()
    assert sum(row["last"] - row["first"] for row in index) == _RECIPE.samples
    assert [row["scene"] for row in index] == list(range(_RECIPE.scenes))
    for row in index:
        record = json.loads((written / row["shard"]).with_suffix(".json").read_text())
        assert record["sha256"] == row["shard_sha256"]
        assert row["configuration_sha256"] == configuration.sha256
        assert row["seed"] == _RECIPE.seed
        assert row["host"] == _RECIPE.choice.cases()[row["case"]].host.name
    assert len({row["case"] for row in index[:8]}) == 8


def test_the_order_does_not_matter(written: Path, configuration: Configuration, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    prepare(folder, configuration)
    list(make_here(folder, configuration, None, [5, 2]))
    for number in (5, 2):
        assert _bytes(folder / shard_name(number)) == _bytes(written / shard_name(number))
        assert record_path(folder, number).read_bytes() == record_path(written, number).read_bytes()
    other = configuration_here(msgspec.structs.replace(_RECIPE, seed=2), shipped_library())
    make_shard(str(folder), msgspec.json.encode(other), None, 2)
    assert _bytes(folder / shard_name(2)) != _bytes(written / shard_name(2))


@pytest.mark.slow  # two new processes import everything
def test_two_worker_processes_write_the_same_bytes(
    written: Path, configuration: Configuration, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    prepare(folder, configuration)
    with cluster(2, None) as client:
        assert client.scheduler_info()["address"].startswith("tcp://127.0.0.1")
        assert os.getpid() not in client.run(os.getpid).values()
        assert sum(make_on(client, folder, configuration, None, range(_RECIPE.shards))) == _RECIPE.samples
    write_index(folder, configuration)
    assert _bytes(folder) == _bytes(written)


@pytest.mark.slow  # three new processes import everything
def test_a_killed_worker_costs_nothing(written: Path, configuration: Configuration, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    prepare(folder, configuration)
    with cluster(2, None) as client:
        finished = make_on(client, folder, configuration, None, range(_RECIPE.shards))
        samples = next(finished)
        workers = client.run(os.getpid)
        os.kill(next(iter(workers.values())), signal.SIGKILL)
        samples += sum(finished)
    write_index(folder, configuration)
    assert samples == _RECIPE.samples
    prepare(folder, configuration)
    assert _bytes(folder) == _bytes(written)


def test_a_killed_run_goes_on_without_loss_or_repeats(
    written: Path, configuration: Configuration, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    prepare(folder, configuration)
    list(make_here(folder, configuration, None, [0, 3]))
    # A kill leaves a shard in half, or one whose record is not yet there.
    shutil.copytree(folder / shard_name(0), folder / f"{shard_name(4)}.abc.part")
    record_path(folder, 3).unlink()
    before = (folder / shard_name(0)).stat().st_mtime_ns
    prepare(folder, configuration)
    missing = missing_shards(folder, configuration)
    assert missing == [1, 2, 3, 4, 5]
    list(make_here(folder, configuration, None, missing))
    write_index(folder, configuration)
    assert (folder / shard_name(0)).stat().st_mtime_ns == before
    assert _bytes(folder) == _bytes(written)


def test_a_corrupt_shard_is_named_and_made_again(app: typer.Typer, written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(written, folder)
    assert _run(app, "dataset", "verify", folder)[0] == 0
    file = next(p for p in (folder / shard_name(2) / "electrons").rglob("*") if p.is_file() and p.name == "0")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    record_path(folder, 4).write_text("{")
    shutil.rmtree(folder / shard_name(1))
    code, said = _run(app, "dataset", "verify", folder)
    assert code != 0
    assert "shard-000002.zarr is corrupt" in said
    assert "shard-000004.zarr has a record that cannot be read" in said
    assert "shard-000001.zarr is missing" in said
    assert _run(app, "dataset", "verify", folder, "--repair")[0] == 0
    assert _bytes(folder) == _bytes(written)
    assert faults(folder, read_configuration(folder)) == {}


def test_a_full_disk_stops_cleanly(tmp_path: Path) -> None:
    """A limit on the size of a file stands for a disk without room; the second recipe's shard is over it."""
    folder = tmp_path / "set"
    recipe = msgspec.structs.replace(_RECIPE, samples=150, dose_e_per_angstrom2=(1e6, 1e6))
    configuration = configuration_here(recipe, shipped_library())
    prepare(folder, configuration)
    list(make_here(folder, configuration, None, [1]))
    kept = _bytes(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(InputError, match=r"No room is left for shard 0.*Finished shards are kept"):
            list(make_here(folder, configuration, None, [0]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _bytes(folder) == kept
    assert missing_shards(folder, configuration) == [0]


def test_a_folder_of_another_configuration_is_refused(written: Path, tmp_path: Path) -> None:
    other = configuration_here(msgspec.structs.replace(_RECIPE, seed=9), shipped_library())
    with pytest.raises(InputError, match="another configuration: seed is 1 there and 9 here"):
        prepare(written, other)
    elsewhere = msgspec.structs.replace(other, packages=other.packages | {"numpy": "0.1"})
    with pytest.raises(InputError, match="Install the same versions everywhere"):
        make_shard(str(tmp_path), msgspec.json.encode(elsewhere), None, 0)
    with pytest.raises(InputError, match="all workers share"):
        make_shard(str(tmp_path / "none"), msgspec.json.encode(other), None, 0)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        prepare(tmp_path, other)
    with pytest.raises(InputError, match="is not a dataset"):
        read_configuration(tmp_path)
    with pytest.raises(InputError, match="cannot be written to"):
        prepare(Path("/proc/stemctx"), other)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "XX2"], "no host 'XX2'"),
        (["--dopant", "Xx"], "no element 'Xx'"),
        (["--host", "WS2", "--dopant", "W"], "not a dopant of it"),
        (["--case", 576], "no case 576"),
        (["--dose", "0", "100"], "A dose from 0"),
        (["--dose", "-3", "100"], "A dose from -3"),
        (["--detector", "200-70"], "from 200 to 70"),
        (["--detector", "wide"], "not a detector"),
        (["--detector", "70-900"], "70-900 mrad is outside"),
        (["--high-tension-kv", "42"], "not 42 kV"),
        (["--samples", "0"], "samples is 0"),
        (["--seed", "-1"], "seed of a dataset is -1"),
        (["--power", "3"], "power is 3"),
        (["--workers", "-1"], "-1 workers"),
        (["--scheduler", "tcp://127.0.0.1:9"], "No dask scheduler answers"),
    ],
)
def test_what_cannot_be_rendered_is_refused_before_work(
    app: typer.Typer, options: list[str], says: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["dataset", "--output", str(tmp_path / "set"), *map(str, options)])
    assert isinstance(result.exception, InputError | LibraryError)
    assert says in str(result.exception)
    assert not (tmp_path / "set").exists()


def test_prevalence_and_weights_go_into_the_shards() -> None:
    recipe = msgspec.structs.replace(_RECIPE, sampling=Sampling.PREVALENCE, samples_per_scene=400)
    scene = labelled_scene(shipped_library(), recipe, 0)
    defect = np.array([c.is_defect for c in scene.truth.candidates])
    assert 0 < defect[scene.label].mean() < 0.08
    np.testing.assert_allclose(scene.weight, 1.0, rtol=1e-6)
    balanced = labelled_scene(shipped_library(), msgspec.structs.replace(recipe, sampling=Sampling.BALANCED), 0)
    share = np.average(defect[balanced.label], weights=balanced.weight)
    assert share == pytest.approx(defect[scene.label].mean(), abs=0.02)


def test_high_doses_are_stored_as_floating_point() -> None:
    from stemctx_core.dataset.patch_shards import counts_dtype

    assert counts_dtype(_RECIPE) == np.uint16
    assert counts_dtype(msgspec.structs.replace(_RECIPE, dose_e_per_angstrom2=(1e3, 1e8))) == np.float32


def test_frames_are_written_with_their_sites(tmp_path: Path) -> None:
    from stemctx_core.dataset.frames import rebuilt

    recipe = msgspec.structs.replace(
        _RECIPE,
        kind=Kind.FRAMES,
        samples=2,
        samples_per_shard=2,
        shape=(128, 160),
        imperfections=Imperfections.PRISTINE,
    )
    configuration = configuration_here(recipe, shipped_library())
    prepare(tmp_path / "set", configuration)
    assert sum(make_here(tmp_path / "set", configuration, None, [0])) == 2
    group = zarr.open_group(tmp_path / "set" / shard_name(0), mode="r")
    assert group["images"].shape == (2, 1, 128, 160)
    first, second = group["first_site"][:]
    assert first == 0 < second < len(group["label"][:])
    again = rebuilt(shipped_library(), json.loads(group.attrs["frames"][1]))
    np.testing.assert_array_equal(again.images, group["images"][1])
    np.testing.assert_array_equal(again.sites.column_index, group["label"][second:])
    assert (group["weight"][:] > 0).all()
