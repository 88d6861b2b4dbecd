"""The simulated microscope in Nion Swift: a specimen whose every site is known, scanned as a real one is.

It stands beside Nion's own simulator, whose scan device can be chosen as before; beside the scan device of a real
instrument it does nothing.
"""

from __future__ import annotations

from typing import Any


class StemctxSimulatorExtension:
    """What Nion Swift loads and unloads; it stands here and nowhere else, or it would be made twice."""

    extension_id = "stemctx.simulator"

    def __init__(self, api_broker: Any) -> None:
        from nionswift_plugin.stemctx_simulator import plug_in

        plug_in.LOADED.open(api_broker.get_api("~1.0"))

    def close(self) -> None:
        """Unload."""
        from nionswift_plugin.stemctx_simulator import plug_in

        plug_in.LOADED.close()


def run() -> None:
    """Put our instrument in; called after Nion's simulator was set up."""
    from nionswift_plugin.stemctx_simulator import plug_in

    plug_in.LOADED.attach()
