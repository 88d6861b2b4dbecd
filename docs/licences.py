"""The page of dependencies and their licences, made of `pyproject.toml`, `dependencies.toml` and what is installed.

A test (`tests/packaging/test_licences.py`) holds both files to each other, and every licence to those that go together
with GPL-3.0-or-later.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCS: Final = Path(__file__).resolve().parent
#: What everybody who installs stemctx gets; the other groups are extras.
ALWAYS: Final = "always"
#: Licences whose programs may be part of one under GPL-3.0-or-later. BSD: the package says no more than that.
COMPATIBLE: Final = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "GPL-3.0-only",
        "GPL-3.0-or-later", "HPND", "ISC", "LGPL-2.1-or-later", "LGPL-3.0-or-later", "LLVM-exception", "MIT", "MIT-CMU",
        "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "public domain",
    }
)  # fmt: skip
#: NVIDIA's libraries are proprietary. stemctx neither holds nor needs them; who asks for them installs them himself.
PROPRIETARY: Final = re.compile(r"tensorrt(-.*)?|nvidia-.*|cuda-(bindings|toolkit)")
#: What packages write where no SPDX identifier stands, as a pattern of the whole text.
_SPOKEN: Final = {
    r"(the )?mit( license)?": "MIT",
    r"apache( software)?( license)?,?( version)? ?(2(\.0)?)?": "Apache-2.0",
    r"bsd( license)?": "BSD",
    r"(bsd )?3-clause( bsd)?( license)?|bsd 3-clause( license)?": "BSD-3-Clause",
    r"(bsd )?2-clause( bsd)?( license)?|bsd 2-clause( license)?": "BSD-2-Clause",
    r"isc( license)?( \(iscl\))?": "ISC",
    r"mozilla public license 2\.0( \(mpl 2\.0\))?": "MPL-2.0",
    r"python software foundation license": "PSF-2.0",
    r"gnu general public license v3 \(gplv3\)": "GPL-3.0-only",
    r"public domain": "public domain",
    r"(other/)?proprietary( license)?": "proprietary",
}
_EXPRESSION: Final = re.compile(r"[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*")


@dataclass(frozen=True)
class Dependency:
    """What stemctx itself asks for.

    Attributes
    ----------
    groups
        Extras that bring it, or `ALWAYS`.
    """

    name: str
    versions: str
    groups: tuple[str, ...]


def declared(pyproject: Path = DOCS.parent / "pyproject.toml") -> dict[str, Dependency]:
    """Every direct dependency by its name, in the order of `pyproject.toml`."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    groups = {ALWAYS: project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, Dependency] = {}
    for group, lines in groups.items():
        for requirement in map(Requirement, lines):
            name = canonicalize_name(requirement.name)
            if name == "stemctx":
                continue
            before = found[name].groups if name in found else ()
            found[name] = Dependency(name, str(requirement.specifier), (*before, group))
    return found


def described() -> dict[str, dict[str, str]]:
    """Licence and purpose of each, as `dependencies.toml` says them."""
    return tomllib.loads((DOCS / "dependencies.toml").read_text(encoding="utf-8"))


def licence_of(name: str) -> str:
    """Licence of an installed package by its own metadata: SPDX where it can be told, empty where nothing is said."""
    metadata = importlib.metadata.metadata(name)
    trove = [
        c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")
    ]
    for said in (metadata.get("License-Expression"), metadata.get("License"), *trove):
        first = (said or "").strip().partition("\n")[0].strip()
        for pattern, licence in _SPOKEN.items():
            if re.fullmatch(pattern, first, re.IGNORECASE):
                return licence
        if _EXPRESSION.fullmatch(first) and (first != "UNKNOWN") and identifiers(first) <= COMPATIBLE:
            return first
    return str(metadata.get("License-Expression") or "")


def identifiers(expression: str) -> frozenset[str]:
    """Licences and exceptions that an SPDX expression names."""
    return frozenset(re.split(r" (?:AND|OR|WITH) ", re.sub(r"[()]", "", expression)))


def brought_by(name: str) -> Iterator[str]:
    """Installed packages that a package needs here, and what these need; nothing where it is not installed."""
    seen: set[tuple[str, str]] = set()
    left = [(name, "")]
    while left:
        at, extra = left.pop()
        try:
            lines = importlib.metadata.requires(at) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            for asked in ("", *requirement.extras):
                if (needed, asked) not in seen:
                    seen.add((needed, asked))
                    left.append((needed, asked))
    return iter(sorted({needed for needed, _ in seen if is_installed(needed)} - {name}))


def is_installed(name: str) -> bool:
    """Whether a package is there."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def page() -> str:
    """The page as Markdown."""
    asked, said = declared(), described()
    lines = [
        "# Dependencies and licences",
        "",
        "stemctx is under GPL-3.0-or-later. Everything that it is made of or installs goes together with that; a test fails",
        "where a dependency is added that does not, or that is missing here. With Nion Swift (GPL-3.0-only) in the same",
        "program, the whole is under version 3.",
        "",
        "**NVIDIA's libraries are proprietary**: TensorRT, TensorRT-RTX, and the CUDA libraries that PyTorch's ordinary",
        "wheels for Linux bring. stemctx works without any of them, holds none, and never passes one on. Who wants a GPU",
        "installs them from NVIDIA, under NVIDIA's own terms, and must not pass the two on together.",
        "",
        "## What stemctx asks for",
        "| package | versions | licence | for | with |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, dependency in asked.items():
        entry = said[name]
        licence = _shown(entry["licence"]) + (
            f"; older versions {_shown(entry['older'])}" if "older" in entry else ""
        )
        groups = ", ".join(g if g == ALWAYS else f"`{g}`" for g in dependency.groups)
        lines.append(f"| {name} | {dependency.versions} | {licence} | {entry['for']} | {groups} |")
    others: dict[str, list[str]] = {}
    for name in asked:
        for needed in brought_by(name):
            if needed not in asked:
                others.setdefault(needed, []).append(name)
    lines += [
        "",
        "## What these bring in turn",
        "As installed where this page was made; another machine may bring others. The licence is that of the package's own",
        "metadata.",
        "",
        "| package | licence | brought by |",
        "|---|---|---|",
        *(f"| {n} | {_shown(licence_of(n))} | {', '.join(by)} |" for n, by in sorted(others.items())),
    ]
    absent = [name for name in asked if not is_installed(name)]
    if absent:
        lines += ["", f"Not installed where this page was made, so that nothing is said of what they bring: {', '.join(absent)}."]  # fmt: skip
    return "\n".join([*lines, ""])


def _shown(licence: str) -> str:
    return "proprietary (NVIDIA)" if licence == "proprietary" else licence or "not stated"
