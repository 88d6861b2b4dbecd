"""The simulated microscope in Nion Swift: a specimen whose every site is known, scanned as a real one is.

It takes the place of the scan device of Nion's own simulator, and of no other: beside the scan device of a real
instrument it does nothing.
"""

from __future__ import annotations

from typing import Any


class StemctxSimulatorExtension:
    """What Nion Swift loads and unloads; it stands here and nowhere else, or it would be made twice."""

    extension_id = "stemctx.simulator"

    def __init__(self, api_broker: Any) -> None:
        pass

    def close(self) -> None:
        """Unload."""
        from nionswift_plugin.stemctx_simulator import exchange

        exchange.withdraw()


def run() -> None:
    """Put our scan device in the place of the simulator's; called after Nion's simulator was set up."""
    from nionswift_plugin.stemctx_simulator import exchange

    exchange.install()
