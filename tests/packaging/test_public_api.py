"""What scripts build on: names and signatures that change only on purpose.

After a change that is meant: ``python -m tests.packaging.test_public_api`` writes `public_api.json` anew; say in the changelog
what a script has to change.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

PINNED = Path(__file__).with_name("public_api.json")
PUBLIC = (
    "stemctx_core.analysis:FrameAnalyzer",
    "stemctx_core.context:ImagingContext",
    "stemctx_core.context:Known",
    "stemctx_core.context:Missing",
    "stemctx_core.context:Source",
    "stemctx_core.results:FrameResult",
    "stemctx_core.results:FrameIdentity",
    "stemctx_core.results:Refusal",
    "stemctx_core.results:Decision",
    "stemctx_core.results:SiteTable",
    "stemctx_core.chemistry.classes:Role",
    "stemctx_core.labelling.hand_labels:HandLabel",
    "stemctx_core.labelling.hand_labels:read",
    "stemctx_core.simulation.library:shipped_library",
    "stemctx_core.planning.planner:dose_to_tell",
    "stemctx_core.planning.conditions:best_condition",
    "stemctx_core.reading:read_micrograph",
    "stemctx_core.reading.declared:Declared",
    "realtime.files:analyze",
    "realtime.files:analyze_files",
    "realtime.files:Findings",
    "realtime.files:Outcome",
    "realtime.files:Density",
    "realtime.files:JudgeSettings",
    "realtime.client:DefectClient",
    "realtime.client:ClientState",
    "realtime.client.supervisor:LocalServer",
    "realtime.recording.recorder:FrameRecorder",
    "realtime.recording.recordings:RecordingReader",
    "realtime.autonomy.limits:Limits",
    "realtime.autonomy.session:Session",
    "realtime.autonomy.microscope:Microscope",
    "nionswift_plugin.stemctx.scripting.opening:open_session",
)


def described(thing: Any) -> Any:
    """Members of an enumeration, fields of a record, methods of a class, or the signature of a function."""
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        return sorted(str(member.value) for member in thing)
    if not isinstance(thing, type):
        return _signature(thing)
    methods = {
        name: _signature(member)
        for name, member in inspect.getmembers(thing, lambda m: inspect.isfunction(m) or inspect.ismethod(m))
        if not name.startswith("_")
    }
    fields = list(thing.__struct_fields__) if issubclass(thing, msgspec.Struct) else _signature(thing.__init__)
    return {"takes": fields, "methods": methods}


def _signature(function: Any) -> list[str]:
    """Names of the parameters, with ``=`` where there is a default; annotations may be written better at any time."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name + ("" if p.default is p.empty else "=") for p in parameters if p.name != "self"]


def current() -> dict[str, Any]:
    """The public names as they are."""
    found = {}
    for name in PUBLIC:
        module, _, attribute = name.partition(":")
        found[name] = described(getattr(importlib.import_module(module), attribute))
    return found


def test_public_names_and_signatures_are_as_pinned() -> None:
    assert current() == json.loads(PINNED.read_text())


if __name__ == "__main__":
    PINNED.write_text(json.dumps(current(), indent=1) + "\n")
