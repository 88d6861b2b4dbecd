"""Make a Nion Swift profile with an empty project in it, so that no dialog waits for an answer at the start.

Run as a program of its own, because reading a profile leaves Nion's process-wide state behind.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import pathlib
import sys
import uuid

from nion.swift.model import FileStorageSystem, Profile


def seed(data: pathlib.Path) -> None:
    (data / "Cache").mkdir(parents=True)
    path = data / "Profile.nsproj"
    path.write_text(json.dumps({"version": FileStorageSystem.PROFILE_VERSION, "uuid": str(uuid.uuid4())}))
    storage = FileStorageSystem.make_file_persistent_storage_system(path)
    storage.load_properties()
    more = {}
    if "event_loop" in inspect.signature(Profile.Profile.__init__).parameters:  # from Nion Swift 16.18 on
        more["event_loop"] = asyncio.new_event_loop()
    profile = Profile.Profile(storage_system=storage, cache_dir_path=data / "Cache", **more)
    profile.read_profile()
    project = profile.create_project(data / "Test project", "Test")
    profile.last_project_reference = project.uuid
    profile.close()


if __name__ == "__main__":
    seed(pathlib.Path(sys.argv[1]))
