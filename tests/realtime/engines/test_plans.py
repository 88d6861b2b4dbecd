"""Plans are kept where nobody else can write, and read only if they were written here."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import msgspec
import pytest

from realtime.engines.plans import MOST_PLANS, PlanCache, PlanCacheError, PlanKey, PlanRecord, plans_folder

KEY = PlanKey("0" * 64, "tensorrt", "11.4", ("NVIDIA Test", "SM89", "CUDA 13.0"), "patches 1-1024")
PLAN = b"a plan" * 1000
posix = pytest.mark.skipif(os.name == "nt", reason="Windows protects the folder by its access list")
root = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0, reason="only root can give a file to another user"
)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "caches" / "plans")


def test_a_plan_comes_back_and_says_what_it_is(cache: PlanCache) -> None:
    assert cache.get(KEY) is None
    record = cache.put(KEY, PLAN)
    assert cache.get(KEY) == PLAN
    assert PlanCache(cache.folder).get(KEY) == PLAN
    assert cache.records() == [record]
    assert (record.sha256, record.size_bytes) == (hashlib.sha256(PLAN).hexdigest(), len(PLAN))


@pytest.mark.parametrize("field", list(PlanKey.__struct_fields__))
def test_another_value_of_any_part_of_the_key_is_another_plan(field: str, cache: PlanCache) -> None:
    cache.put(KEY, PLAN)
    other = ("another",) if field == "target" else "another"
    assert cache.get(msgspec.structs.replace(KEY, **{field: other})) is None


def test_the_oldest_plans_go(cache: PlanCache) -> None:
    keys = [msgspec.structs.replace(KEY, onnx_sha256=f"{i:064x}") for i in range(MOST_PLANS + 3)]
    for key in keys:
        cache.put(key, PLAN)
    assert len(cache.records()) == MOST_PLANS
    assert len(list(cache.folder.iterdir())) == 2 * MOST_PLANS


def test_the_folder_follows_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if os.name == "posix" and os.uname().sysname == "Linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert plans_folder() == tmp_path / "stemctx" / "plans"
        monkeypatch.delenv("XDG_CACHE_HOME")
    assert plans_folder().is_relative_to(Path.home())


@posix
def test_fault_30_the_folder_is_only_for_this_user(cache: PlanCache) -> None:
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    for mode in (0o750, 0o701, 0o777):
        cache.folder.chmod(mode)
        with pytest.raises(PlanCacheError, match="chmod 700"):
            PlanCache(cache.folder)
    cache.folder.chmod(0o700)
    cache.folder.parent.chmod(0o777)
    with pytest.raises(PlanCacheError, match="chmod go-w"):
        PlanCache(cache.folder)
    cache.folder.parent.chmod(0o1777)  # as /tmp: others cannot rename what is not theirs
    PlanCache(cache.folder)


@posix
def test_fault_30_a_link_or_a_file_in_place_of_the_folder_is_refused(cache: PlanCache, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(cache.folder)
    (tmp_path / "file").write_bytes(b"")
    for name in ("link", "file"):
        with pytest.raises(PlanCacheError, match=r"[Rr]emove"):
            PlanCache(tmp_path / name)


@root
def test_fault_30_the_folder_of_another_user_is_refused(cache: PlanCache) -> None:
    os.chown(cache.folder, 12345, -1)
    with pytest.raises(PlanCacheError, match="another user"):
        PlanCache(cache.folder)
    os.chown(cache.folder, 0, -1)
    os.chown(cache.folder.parent, 12345, -1)
    with pytest.raises(PlanCacheError, match="not safe"):
        PlanCache(cache.folder)


@pytest.mark.parametrize("kind", ["changed", "cut", "no record", "record of another", "record is no record"])
def test_fault_30_a_plan_that_was_not_built_here_is_not_taken(kind: str, cache: PlanCache) -> None:
    record = cache.put(KEY, PLAN)
    plan = cache.folder / f"{KEY.name}.plan"
    beside = plan.with_suffix(".json")
    if kind == "changed":
        plan.write_bytes(b"b" + PLAN[1:])
    elif kind == "cut":
        plan.write_bytes(PLAN[:-1])
    elif kind == "no record":
        beside.unlink()
    elif kind == "record of another":
        elsewhere = msgspec.structs.replace(record, key=msgspec.structs.replace(KEY, target=("elsewhere",)))
        beside.write_bytes(msgspec.json.encode(elsewhere))
    else:
        beside.write_bytes(b"\x80\x04cos\nsystem\n")
    assert cache.get(KEY) is None
    cache.put(KEY, PLAN)
    assert cache.get(KEY) == PLAN


@posix
@pytest.mark.parametrize("kind", ["link", "writable", "fifo"])
def test_fault_30_a_plan_that_is_no_plain_file_of_this_user_is_not_taken(
    kind: str, cache: PlanCache, tmp_path: Path
) -> None:
    cache.put(KEY, PLAN)
    plan = cache.folder / f"{KEY.name}.plan"
    if kind == "writable":
        plan.chmod(0o666)
    else:
        plan.rename(tmp_path / "outside")
        if kind == "link":
            plan.symlink_to(tmp_path / "outside")
        else:
            os.mkfifo(plan)
    assert cache.get(KEY) is None


@root
def test_fault_30_a_plan_of_another_user_is_not_taken(cache: PlanCache) -> None:
    cache.put(KEY, PLAN)
    os.chown(cache.folder / f"{KEY.name}.plan", 12345, -1)
    assert cache.get(KEY) is None


def test_records_that_cannot_be_read_are_left_out(cache: PlanCache) -> None:
    kept = cache.put(KEY, PLAN)
    (cache.folder / "strange.json").write_text("{}")
    assert cache.records() == [kept]
    assert isinstance(kept, PlanRecord)
