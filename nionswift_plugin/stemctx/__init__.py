"""Live defect flags in Nion Swift.

Nion Swift makes one object of every class it finds here whose name ends in ``Extension``, and calls `run` when all
plug-ins are loaded. Nothing of Nion is imported before that, because `stemctx` on the command line imports this
package too.
"""

from __future__ import annotations

from typing import Any


class StemctxExtension:
    """What Nion Swift loads and unloads.

    It stands here and nowhere else: a class that two modules know is made twice.
    """

    extension_id = "stemctx.live"

    def __init__(self, api_broker: Any) -> None:
        from nionswift_plugin.stemctx import plug_in

        plug_in.LOADED.open(api_broker.get_api("~1.0"))

    def close(self) -> None:
        """Unload."""
        from nionswift_plugin.stemctx import plug_in

        plug_in.LOADED.close()


def run() -> None:
    """Look for instruments; called after all plug-ins, so after those that bring instruments."""
    from nionswift_plugin.stemctx import plug_in

    plug_in.LOADED.attach()
