"""What every test is held to, and what some of them need."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# As in a server: before NumPy is imported, a second thread of OpenBLAS only costs time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no bound on how long one takes: a busy machine is no fault of the code.
settings.register_profile(
    "stemctx", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("stemctx")

REPOSITORY = Path(__file__).parents[1]
#: Real micrographs are not part of the project; they lie beside the repository or where this variable says.
REAL_DATA = Path(os.environ.get("STEMCTX_REAL_DATA", REPOSITORY.parent / "shared" / "data" / "real"))
#: How long a thread that was told to stop may take to end.
GRACE_S = 30.0


def _no_module(name: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(name) else f"{name} is not installed"


def _no_real_data() -> str | None:
    if REAL_DATA.is_dir():
        return None
    return "no real micrographs: they lie in shared/data/real beside the repository, or where STEMCTX_REAL_DATA says"


def _no_window() -> str | None:
    if importlib.util.find_spec("nion.nionswift_tool") is None:
        return "nionswift-tool is not installed"
    return None if shutil.which("Xvfb") else "Xvfb is not installed"


def _no_browser() -> str | None:
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed"
    lacking = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(lacking)} not installed" if lacking else None


def _no_gpu() -> str | None:
    not_verified = "TensorRT execution: not verified on this machine"
    if not (importlib.util.find_spec("tensorrt") or importlib.util.find_spec("tensorrt_rtx")):
        return f"{not_verified} (TensorRT is not installed)"
    return None if shutil.which("nvidia-smi") else f"{not_verified} (no NVIDIA driver)"


#: Marker to the reason why a test that carries it cannot run here; None where it can.
SKIP_REASONS: dict[str, Callable[[], str | None]] = {
    "torch": _no_module("torch"),
    "abtem": _no_module("abtem"),
    "window": _no_window,
    "browser": _no_browser,
    "gpu": _no_gpu,
    "real": _no_real_data,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run, with the reason; what STEMCTX_REQUIRE names is never skipped."""
    required = os.environ.get("STEMCTX_REQUIRE", "").split()
    for marker, reason_of in SKIP_REASONS.items():
        reason = reason_of()
        if reason is None:
            continue
        if marker in required:
            raise pytest.UsageError(f"STEMCTX_REQUIRE names '{marker}', but {reason}.")
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real micrographs; use it together with the marker `real`."""
    reason = _no_real_data()
    if reason:
        pytest.skip(reason)
    return REAL_DATA


def _counts_as_leak(thread: threading.Thread) -> bool:
    return not thread.daemon or thread.name.startswith("stemctx")


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread running: one of ours, or one that would keep the process alive."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_S
    while True:
        left = [t for t in threading.enumerate() if t not in before and _counts_as_leak(t)]
        if not left or time.monotonic() > deadline:
            break
        left[0].join(0.05)
    assert not left, f"left running: {', '.join(t.name for t in left)}"
