"""Versions of Python and of packages, against what stemctx asks for in its own metadata."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.finding import Finding, ok, trouble, warning

TOPIC: Final = "installed"
#: Extras and what each is for; only of these is a version out of range worth a line.
_EXTRAS: Final = {
    "plugin": "Nion Swift",
    "simulator": "the simulated microscope",
    "tensorrt": "inference on an NVIDIA GPU",
    "files": "micrograph files beyond TIFF and NumPy",
    "telemetry": "counters for Prometheus",
    "evaluation": "the evaluation's map of patches",
    "dataset": "data sets as files",
    "training": "training a classifier",
    "simulation": "rebuilding the response library",
}


@dataclass(frozen=True)
class _Package:
    name: str
    range: str
    version: str | None
    fits: bool


def check() -> list[Finding]:
    """Whether what stemctx needs is there, and of which version."""
    try:
        ours = importlib.metadata.distribution("stemctx")
    except importlib.metadata.PackageNotFoundError:
        return [
            warning(
                TOPIC,
                "stemctx runs from its folder and is not installed, so that no version can be compared",
                "Run in that folder: python -m pip install .",
            )
        ]
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet
    except ModuleNotFoundError:
        return [
            trouble(TOPIC, "the Python package 'packaging' is not installed", 'Run: pip install "stemctx[all]"')
        ]
    wanted = [Requirement(line) for line in ours.requires or ()]
    here, asked = platform.python_version(), ours.metadata["Requires-Python"] or ""
    versions = f"stemctx {ours.version}, Python {here}"
    found = []
    if not SpecifierSet(asked).contains(here, prereleases=True):
        found.append(trouble(TOPIC, f"{versions}; stemctx is for Python {asked}", "Use a newer Python."))
    needed = _packages(r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""}))
    missing = [p for p in needed if p.version is None]
    found += [
        trouble(
            TOPIC,
            f"the package {p.name} ({p.range}) is not installed",
            f'Run: python -m pip install "{p.name}{p.range}"',
        )
        for p in missing
    ]
    found += _out_of_range(needed)
    if not found:
        found.append(
            ok(TOPIC, f"{versions}, and {len(needed)} packages, all of versions that stemctx is made for")
        )
    return found + _extras(wanted)


def _extras(wanted: list[Any]) -> list[Finding]:
    found, absent = [], []
    for extra, purpose in _EXTRAS.items():
        packages = _packages(
            r
            for r in wanted
            if r.marker is not None
            and r.marker.evaluate({"extra": extra})
            and not r.marker.evaluate({"extra": ""})
        )
        missing = [p.name for p in packages if p.version is None]
        if missing:
            absent.append(f"{extra} ({purpose}; without {', '.join(missing)})")
        found += _out_of_range(packages)
        if extra == "plugin" and not missing:
            found.append(ok(TOPIC, ", ".join(f"{p.name} {p.version}" for p in packages)))
    if absent:
        found.append(ok(TOPIC, f"left out: {'; '.join(absent)}"))
    return found


def _out_of_range(packages: list[_Package]) -> list[Finding]:
    return [
        warning(
            TOPIC,
            f"{p.name} {p.version} is not a version that stemctx is made for ({p.range})",
            f'Run: python -m pip install "{p.name}{p.range}"',
        )
        for p in packages
        if p.version is not None and not p.fits
    ]


def _packages(requirements: Iterable[Any]) -> list[_Package]:
    found = []
    for r in requirements:
        if r.name == "stemctx":
            continue
        try:
            version: str | None = importlib.metadata.version(r.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        fits = version is not None and r.specifier.contains(version, prereleases=True)
        found.append(_Package(r.name, str(r.specifier), version, fits))
    return found
