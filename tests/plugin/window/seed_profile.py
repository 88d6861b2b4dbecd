"""Make a Nion Swift profile with an empty project in it, so that no dialog waits for an answer at the start.

Run as a program of its own, because reading a profile leaves Nion's process-wide state behind.
"""

from __future__ import annotations

import asyncio
import pathlib
import sys

from nionswift_plugin.stemctx.profile import open_profile

if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    open_profile(pathlib.Path(sys.argv[1]), "Test", loop).close()
    loop.close()
