"""Nion Swift without a display for the benchmark of what live flags cost it: plug-ins, panel, counted writes."""

from __future__ import annotations

import contextlib
import tempfile
import unittest
from collections.abc import Iterator
from typing import Any, Final

from nion.instrumentation.test import AcquisitionTestContext
from nion.swift import Panel
from nion.swift.model import FileStorageSystem, PlugInManager
from nion.swift.test import TestContext
from nion.usim_device import DeviceConfiguration
from nion.utils import Registry

from nionswift_plugin.stemctx import plug_in as plug_in_module
from nionswift_plugin.stemctx.panel.panel import PANEL_ID, PANEL_NAME
from nionswift_plugin.stemctx_simulator import exchange
from sim.instrument import MicroscopeSettings
from stemctx_core.errors import ServerUnavailable

_PIXEL_NM: Final = 5.0 / 256


@contextlib.contextmanager
def swift() -> Iterator[Any]:
    """Nion Swift without a display, with Nion's own leak checks around it."""
    AcquisitionTestContext.begin_leaks()
    setup = TestContext.TestSetup()
    try:
        with tempfile.TemporaryDirectory(prefix="stemctx-swift-") as directory:
            configuration = DeviceConfiguration.AcquisitionContextConfiguration(
                set_configuration_location=False
            )
            configuration.configuration_location = directory  # an empty one switches Nion's instruments off
            with AcquisitionTestContext.test_context(configuration, is_app=True) as context:
                yield context
    finally:
        del setup
    AcquisitionTestContext.end_leaks(unittest.TestCase())


@contextlib.contextmanager
def loaded(side_px: int, dwell_us: float) -> Iterator[Any]:
    """Both plug-ins, as Nion Swift loads and unloads them."""
    settings = MicroscopeSettings(size=(side_px, side_px), fov_nm=side_px * _PIXEL_NM, dwell_us=dwell_us)
    exchange.install(settings)
    try:
        for name in ("stemctx_simulator", "stemctx"):
            module = PlugInManager.load_plug_in("nionswift_plugin", f"nionswift_plugin.{name}")
            if module is None:
                raise ServerUnavailable(f"Nion Swift did not load its plug-in {name}; its log says why.")
            module.run()
        plug_in = plug_in_module.current()
        assert plug_in is not None
        scan = Registry.get_component("scan_hardware_source")
        scan.set_current_frame_parameters(scan.get_frame_parameters(1))
        yield plug_in
    finally:
        PlugInManager.unload_plug_ins()


@contextlib.contextmanager
def panel(context: Any) -> Iterator[Any]:
    """The window, with the panel of the flags in it."""
    window, manager = context.document_controller, Panel.PanelManager()
    properties = manager.get_panel_info(PANEL_ID)[3]
    shown = manager.create_panel_content(window, PANEL_ID, PANEL_NAME, ["left", "right"], "right", properties)
    try:
        yield window
    finally:
        shown.close()
        window.periodic()


@contextlib.contextmanager
def counted_writes() -> Iterator[list[int]]:
    """Count what Nion Swift writes of its documents."""
    written, kind = [0], FileStorageSystem.MemoryStorageHandler
    kept = {name: getattr(kind, name) for name in ("write_properties", "write_data")}

    def counted(write: Any) -> Any:
        def count(*args: Any, **kwargs: Any) -> Any:
            written[0] += 1
            return write(*args, **kwargs)

        return count

    for name, write in kept.items():
        setattr(kind, name, counted(write))
    try:
        yield written
    finally:
        for name, write in kept.items():
            setattr(kind, name, write)
