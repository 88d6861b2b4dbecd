"""What the CUDA driver says of its devices; asked in a child process, because a damaged driver may hang."""

from __future__ import annotations

from typing import Any


def probe() -> dict[str, Any]:
    """Count the devices, and name the engines that could run on them."""
    from realtime.engines.driver import probe_driver

    said = probe_driver()
    kinds = ("tensorrt", "tensorrt_rtx")
    return {"devices": said.devices, "reason": said.reason, "kinds": kinds if said.devices else ()}
