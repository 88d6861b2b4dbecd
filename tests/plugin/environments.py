"""Environments that lack something, made of this one: real ones, with an interpreter of their own."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
#: Our own packages, however they are installed.
STEMCTX = (
    "*stemctx*.pth",
    "stemctx-*.dist-info",
    "stemctx_core",
    "realtime",
    "sim",
    "nionswift_plugin/stemctx",
    "nionswift_plugin/stemctx_simulator",
)
NION_SWIFT = ("nion/swift", "nionswift-*.dist-info", "nion/nionswift_tool", "nionswift_tool-*.dist-info")
NION_SIMULATOR = ("nion/usim_device", "nion/device_kit", "nionswift_plugin/usim", "nionswift_usim-*.dist-info")
ONNX_RUNTIME = ("onnxruntime", "onnxruntime-*.dist-info")


class Environment:
    """A virtual environment that has what this one has, but for what is left out.

    Parameters
    ----------
    folder
        Where it is made.
    without
        Paths below ``site-packages`` that are left out, with the wild cards of a shell.
    """

    def __init__(self, folder: Path, without: Collection[str] = ()) -> None:
        venv.create(folder, with_pip=False, symlinks=os.name != "nt")
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        variables = {"base": str(folder), "platbase": str(folder), "installed_base": str(folder)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", variables))
        _link(Path(sysconfig.get_path("purelib")), self.packages, without)

    def stemctx(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line there, from a folder that holds none of our packages."""
        return run(self.python, *arguments, at=self.packages.parent, **variables)


def run(python: Path | str, *arguments: str, at: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `stemctx` with an interpreter and environment variables; a variable that is empty is not set."""
    surroundings = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", **variables}
    return subprocess.run(
        [str(python), "-c", "from stemctx_core.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=at,
        env={name: value for name, value in surroundings.items() if value},
    )


def _link(source: Path, target: Path, without: Collection[str], below: str = "") -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        name = below + entry.name
        if any(fnmatch(name, pattern) for pattern in without):
            continue
        if any(pattern.startswith(name + "/") for pattern in without):
            _link(entry, target / entry.name, without, name + "/")
        else:
            (target / entry.name).symlink_to(entry)
