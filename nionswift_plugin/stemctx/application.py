"""Nion Swift with a profile of its own, which opens scanning and flagging: what `make swift` starts.

Nion Swift's launcher loads this module: ``nionswift --app nionswift_plugin.stemctx.application``. The user's own
profile, projects and settings are neither read nor written.
"""

from __future__ import annotations

import logging
import pathlib
from typing import Any, Final

from nion.swift import Application, Facade
from nion.ui import Application as ApplicationUI

from nionswift_plugin.stemctx import plug_in
from nionswift_plugin.stemctx.demo import operator as demo
from nionswift_plugin.stemctx.profile import open_profile
from nionswift_plugin.stemctx.window import opening

logger = logging.getLogger(__name__)

#: Under these Qt looks for data and configuration, on every platform.
NAME: Final = "Nion Swift with stemctx"
ORGANISATION: Final = "stemctx"
PROJECT: Final = "Simulated microscope"


class LiveApplication(Application.Application):  # type: ignore[misc]  # nion is untyped here
    """Nion Swift, opened on our project and not on the user's last one."""

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        # After the base class, which says who Nion Swift is, and before the plug-ins ask where things are.
        ui.set_application_info(NAME, ORGANISATION, "")

    def start(self, **_: Any) -> bool:
        """Open the window, and flag in it."""
        profile = open_profile(pathlib.Path(self.ui.get_data_location()), PROJECT, self.event_loop)
        opened = bool(super().start(profile=profile))
        loaded = plug_in.current()
        if loaded is None:
            logger.error("The stemctx plug-in was not loaded; what Nion Swift says of it stands above.")
        elif not demo.asked_to_start():
            for window in self.document_controllers:
                opening.open_soon(loaded, window)
        return opened


def main(args: list[Any], bootstrap_args: dict[str, Any]) -> LiveApplication:
    """As Nion Swift's launcher calls it.

    Parameters
    ----------
    args
        Of the launcher.
    bootstrap_args
        What the launcher's user interface is made from.
    """
    Facade.initialize()
    application = LiveApplication(ApplicationUI.make_ui(bootstrap_args))
    application.initialize(use_root_dir=False)
    return application
