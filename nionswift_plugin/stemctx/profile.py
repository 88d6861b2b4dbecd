"""A Nion Swift profile with a project in it, so that no dialog waits for an answer when Nion Swift starts."""

from __future__ import annotations

import asyncio
import inspect
import json
import pathlib
import uuid
from typing import Any

from nion.swift.model import FileStorageSystem, Profile

_NAME = "Profile.nsproj"


def open_profile(folder: pathlib.Path, project: str, event_loop: asyncio.AbstractEventLoop) -> Any:
    """Open the profile of a folder, or make it; the project that it opens is always one that is there.

    Parameters
    ----------
    folder
        Where the profile, its cache and a new project are kept; made where it is not there.
    project
        Name of a new project.
    event_loop
        Of the application.
    """
    (folder / "Cache").mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    if not path.exists():
        identity = {"version": FileStorageSystem.PROFILE_VERSION, "uuid": str(uuid.uuid4())}
        path.write_text(json.dumps(identity), encoding="utf-8")
    storage = FileStorageSystem.make_file_persistent_storage_system(path)
    storage.load_properties()
    # From Nion Swift 16.18 on a profile wants a loop.
    wants_loop = "event_loop" in inspect.signature(Profile.Profile.__init__).parameters
    more = {"event_loop": event_loop} if wants_loop else {}
    profile = Profile.Profile(storage_system=storage, cache_dir_path=folder / "Cache", **more)
    profile.read_profile()
    last = profile.last_project_reference
    reference = profile.get_project_reference(last) if last else None
    if reference is None or not reference.is_valid:
        # One that was thrown away is still known to the profile, which takes no second one at its place.
        known = {reference.path.parent for reference in profile.project_references if reference.path}
        reference = profile.create_project(_free(folder, project, known), project)
        profile.last_project_reference = reference.uuid
    return profile


def _free(folder: pathlib.Path, project: str, known: set[pathlib.Path]) -> pathlib.Path:
    """A folder that holds no project and is not known to hold one, so that none is written over."""
    place, number = folder / project, 1
    while place.exists() or place in known:
        number += 1
        place = folder / f"{project} {number}"
    return place
