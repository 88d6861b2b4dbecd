"""What stemctx keeps on disk: keys, plans of GPUs, compiled loops, recordings; who may read and write them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.child import ProbeFailed, ask
from nionswift_plugin.stemctx.doctor.finding import Finding, ok, trouble, warning

KEYS: Final = "keys"
PLANS: Final = "plans"
LOOPS: Final = "compiled loops"
DISK: Final = "disk"
#: A recorded frame of 512 x 512 in 16 bits, which is what a microscope delivers.
_FRAME_BYTES: Final = 512 * 512 * 2
_LITTLE_BYTES: Final = 2_000_000_000


def check_keys() -> list[Finding]:
    """Whether nobody else can read a secret key."""
    from realtime.keys.certificates import SECRET_SUFFIX, check_private
    from realtime.keys.folder import KeyFolder, default_folder
    from stemctx_core.errors import SecurityError

    folder = default_folder()
    if not folder.is_dir():
        return [ok(KEYS, f"none in {folder}; only a server on another machine needs them")]
    secrets = sorted(folder.rglob("*" + SECRET_SUFFIX))
    found = []
    for secret in secrets:
        try:
            check_private(secret)
        except (SecurityError, OSError) as error:
            said, _, command = str(error).rpartition(" Run: ")
            fix = f"Run: {command}" if said else "Make new keys: see 'stemctx keys --help'."
            found.append(
                trouble(
                    KEYS,
                    said or str(error),
                    f"{fix} If others had time to read it, revoke that key and make a new one.",
                )
            )
    return found or [
        ok(
            KEYS,
            f"{len(KeyFolder(folder).entries())} keys in {folder}, {len(secrets)} secret and readable by you alone",
        )
    ]


def check_plans() -> list[Finding]:
    """Whether plans of a GPU can be kept safely."""
    from realtime.engines.plans import PlanCache, PlanCacheError, plans_folder

    if not plans_folder().exists():
        return [ok(PLANS, f"none in {plans_folder()}; only an NVIDIA GPU has them")]
    try:
        return [ok(PLANS, f"{len(PlanCache().records())} in {plans_folder()}, writable by you alone")]
    except PlanCacheError as error:
        return [warning(PLANS, f"plans are built again at every start: {error}", "Do what it says.")]


def check_loops() -> list[Finding]:
    """Whether what numba compiles is kept, and whether it is there already."""
    try:
        said = ask("keeping", timeout_s=60.0)
    except ProbeFailed as error:
        return [
            trouble(
                LOOPS, f"numba does not work: {error}", "Run: python -m pip install --force-reinstall numba"
            )
        ]
    if not said["folder"]:
        return [
            warning(
                LOOPS,
                "cannot be kept, so that every start compiles for half a minute: neither the folder of stemctx nor your "
                "own folder of caches can be written",
                "Set NUMBA_CACHE_DIR to a folder that you can write.",
            )
        ]
    done = "are there" if said["kept"] else "are not there yet: the first start compiles for half a minute"
    return [ok(LOOPS, f"kept in {said['folder']}, and {done}")]


def probe() -> dict[str, Any]:
    """Where numba keeps a loop of ours, and whether it holds one; for a child process."""
    import tempfile

    from stemctx_core.lattice import kernels

    dispatcher: Any = kernels.sample
    folder = dispatcher.stats.cache_path
    if not folder:
        return {"folder": "", "kept": False}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return {"folder": "", "kept": False}
    return {"folder": folder, "kept": any(Path(folder).glob("kernels.sample-*.nbi"))}


def check_disk(folder: Path | None = None) -> list[Finding]:
    """How many frames could be recorded.

    Parameters
    ----------
    folder
        Where to; the current one by default.
    """
    place = (folder or Path.cwd()).resolve()
    free = shutil.disk_usage(place).free
    frames = free // _FRAME_BYTES
    said = f"{free / 1e9:.1f} GB free at {place}: {frames:,} recorded frames of 512 x 512 pixels, 16 bits"
    if free < _LITTLE_BYTES:
        return [warning(DISK, said, "Free the disk, or record elsewhere with --record.")]
    return [ok(DISK, said)]
