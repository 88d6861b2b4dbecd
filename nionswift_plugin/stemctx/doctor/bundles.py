"""Whether the shipped models and the response library are the files that their descriptions speak of."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.finding import Finding, ok, trouble

TOPIC: Final = "model"
#: Descriptions whose "sha256" is that of the array file beside them.
_LIBRARIES: Final = ("responses.json", "deltas.json")
_CARDS: Final = ("candidate_scorer/card.json", "baselines/card.json")
_FIX: Final = "Install stemctx again: python -m pip install --force-reinstall --no-deps ."


def check(folder: Path | None = None) -> list[Finding]:
    """Whether every file has the hash that stands in its description.

    Parameters
    ----------
    folder
        Of the bundles; those of the installed package by default.
    """
    bundles = folder or _shipped()
    wrong: list[str] = []
    names: list[str] = []
    for name, digest in _described(bundles, wrong).items():
        try:
            found = hashlib.sha256((bundles / name).read_bytes()).hexdigest()
        except OSError as error:
            wrong.append(f"{name} cannot be read ({error.strerror})")
        else:
            names.append(name)
            if found != digest:
                wrong.append(f"{name} is not the file that its description speaks of")
    if wrong:
        return [trouble(TOPIC, f"in {bundles}: {'; '.join(wrong)}", _FIX)]
    model = hashlib.sha256((bundles / "candidate_scorer" / "model.onnx").read_bytes()).hexdigest()
    return [ok(TOPIC, f"candidate_scorer {model[:12]}; {len(names)} files as described")]


def _described(bundles: Path, wrong: list[str]) -> dict[str, str]:
    """File to hash, of everything that is described; what cannot be read is added to `wrong`."""
    described: dict[str, str] = {}
    for name in (*_LIBRARIES, *_CARDS):
        try:
            said: dict[str, Any] = json.loads((bundles / name).read_text(encoding="utf-8"))
            if name in _LIBRARIES:
                described[name.replace(".json", ".npz")] = str(said["sha256"])
            else:
                above = name.rpartition("/")[0]
                described |= {f"{above}/{file}": str(of["sha256"]) for file, of in said["files"].items()}
        except (OSError, ValueError, LookupError, TypeError) as error:
            wrong.append(f"{name} cannot be read ({error})")
    return described


def _shipped() -> Path:
    spec = importlib.util.find_spec("stemctx_core")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bundles"
