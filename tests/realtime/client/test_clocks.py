"""Latencies go by one process's monotonic clock: neither a step of the wall clock nor another host's clock is in them.

The wall clock of a process is shifted by a few lines of C that stand before libc's `clock_gettime`; another host's
monotonic clock is a Linux time namespace.
"""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from realtime.client import DefectClient
from realtime.recording.recordings import RecordingReader
from realtime.wire.messages import ServerStatus
from stemctx_core.results import FrameIdentity
from tests.realtime.processes import server_process
from tests.realtime.support import PATIENCE_S, context, image

HOUR_S = 3600.0
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Wall clocks are off by the seconds in the file that STEMCTX_TEST_WALL names. */
static long off(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("STEMCTX_TEST_WALL"), "r");
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, now);
    if (which == CLOCK_REALTIME) now->tv_sec += off();
    return code;
}
"""
_CLIENT = """
import datetime, sys, time
from pathlib import Path
from realtime.client import DefectClient
from realtime.recording.recorder import FrameRecorder
from stemctx_core.results import FrameIdentity
from tests.realtime.support import context, image, wait_for

address, wall, record = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
latencies = []
with FrameRecorder(record) as recorder, DefectClient(
    address, on_result=lambda _result, ms: latencies.append(ms), recorder=recorder
) as client:
    for number, seconds in enumerate((0, 3600, -3600, 7200, 0)):
        wall.write_text(str(seconds))
        client.submit(image(), context(), FrameIdentity("s", number))
        wait_for(lambda: len(latencies) == number + 1)
        print(datetime.datetime.now(datetime.UTC).timestamp(), latencies[-1], client.state)
"""


def stages(status: ServerStatus) -> dict[str, float]:
    """Longest duration of what the server times itself; the analyzer's own steps are made up here."""
    return {name: status.stages[name].max_ms for name in ("queue", "analyze", "reply")}


@pytest.fixture
def stepping(tmp_path: Path) -> dict[str, str]:
    """Environment of a process whose wall clock can be stepped."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a wall clock is stepped with a C compiler on Linux")
    source, library, wall = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "wall"
    source.write_text(_SHIM)
    wall.write_text("0")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "STEMCTX_TEST_WALL": str(wall)}


def test_fault_57_steps_of_the_wall_clock_are_not_in_a_latency(
    tmp_path: Path, stepping: dict[str, str]
) -> None:
    wall = stepping["STEMCTX_TEST_WALL"]
    with server_process(variables=stepping) as address:
        ran = subprocess.run(
            [sys.executable, "-c", _CLIENT, address, wall, str(tmp_path / "live.h5")],
            capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[3],
            env={**os.environ, **stepping},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        with DefectClient(address) as client:
            status = client.status(PATIENCE_S)
    told = [line.split() for line in ran.stdout.splitlines()]
    seen = [float(wall_s) - time.time() for wall_s, _, _ in told]
    # The clock did step, and nobody minded.
    assert [round(s / HOUR_S) for s in seen] == [0, 1, -1, 2, 0]
    assert all(0 <= float(ms) < 1e3 * HOUR_S / 2 for _, ms, _ in told)
    assert all(state == "live" for _, _, state in told)
    assert status.counters["frames_answered"] == 5
    assert all(0 <= ms < 1e3 * HOUR_S / 2 for ms in stages(status).values())
    with RecordingReader(tmp_path / "live.h5") as recording:
        headers = [frame.header for frame in recording]
    since = [h.since_start_ms for h in headers]
    assert since == sorted(since)
    assert all(0 <= h.latency_ms < 1e3 * HOUR_S / 2 for h in headers)
    assert datetime.datetime.fromisoformat(headers[2].utc) < datetime.datetime.fromisoformat(headers[1].utc)


def test_fault_58_clocks_of_two_hosts_are_not_compared(stepping: dict[str, str]) -> None:
    seconds = 100_000  # far more than a test takes, so that no part of it can hide in a latency
    Path(stepping["STEMCTX_TEST_WALL"]).write_text(str(-seconds))
    other_host = ("unshare", "--time", "--monotonic", str(seconds), "--boottime", str(seconds), "--fork")
    tried = (
        subprocess.run([*other_host, "true"], capture_output=True, text=True)
        if shutil.which("unshare")
        else None
    )
    if tried is None or tried.returncode:
        pytest.skip("another monotonic clock needs a time namespace, which is not allowed here")
    latencies: list[float] = []
    with (
        server_process(before=other_host, variables=stepping) as address,
        DefectClient(address, on_result=lambda _, ms: latencies.append(ms)) as client,
    ):
        start = time.monotonic()
        for number in range(3):
            client.analyze(image(), context(), FrameIdentity("s", number), PATIENCE_S)
        client.submit(image(), context(), FrameIdentity("s", 3))
        while not latencies:
            time.sleep(0.01)
        status = client.status(PATIENCE_S)
        passed_ms = 1e3 * (time.monotonic() - start)
    assert 0 <= latencies[0] <= passed_ms
    assert status.counters["frames_answered"] == 4
    assert all(0 <= ms <= passed_ms for ms in stages(status).values())


def test_fault_58_no_part_of_the_live_path_asks_for_the_wall_clock() -> None:
    root = Path(__file__).parents[3] / "realtime"
    live = [*root.glob("client/*.py"), *root.glob("server/*.py"), root / "watching" / "telemetry.py"]
    assert len(live) > 20
    for path in live:
        if path.name == "answers.py":  # says for people when an answer came
            continue
        text = path.read_text().replace("monotonic_ns()", "").replace("perf_counter_ns()", "")
        assert not any(word in text for word in ("time.time(", "time_ns()", "datetime")), path.name
