"""Nion Swift without a window: its document model, its test user interface, its instruments and plug-ins."""

from __future__ import annotations

import contextlib
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nion.instrumentation.test import AcquisitionTestContext
from nion.swift import Facade, ImageCanvasItem, MetadataPanel, Thumbnails
from nion.swift.model import DisplayItem, PlugInManager
from nion.swift.test import TestContext
from nion.ui import CanvasItem
from nion.usim_device import DeviceConfiguration
from nion.utils import Registry

from nionswift_plugin.stemctx_simulator import exchange
from sim.instrument import MicroscopeSettings

Facade.initialize()


def _start_pools() -> None:
    """Start every thread of the pools that Nion keeps for the life of the process, so that no test is blamed."""
    modules = (CanvasItem, DisplayItem, ImageCanvasItem, MetadataPanel, Thumbnails)
    classes = [c for m in modules for c in vars(m).values() if isinstance(c, type) and "_executor" in vars(c)]
    for pool in {id(c._executor): c._executor for c in classes}.values():
        together = threading.Barrier(pool._max_workers)
        for future in [pool.submit(together.wait, 60.0) for _ in range(pool._max_workers)]:
            future.result(120.0)


_start_pools()

#: How long a test waits for what has to come: a machine that has much else to do is slow, and no test is about that.
PATIENCE_S = 120.0
#: What is under way is over where nothing has moved for so long.
_QUIET_S = 0.5

#: Fields that are small and quick, and yet hold defects: 5 nm at 0.195 Å a pixel, 1e5 e/Å².
QUICK = MicroscopeSettings(size=(256, 256), fov_nm=5.0)


@dataclass
class Swift:
    """Nion Swift as the tests see it."""

    context: Any

    @property
    def window(self) -> Any:
        """The first document window."""
        return self.context.document_controller

    @property
    def document_model(self) -> Any:
        """The project."""
        return self.context.document_model

    @property
    def scan(self) -> Any:
        """The scan device that an operator would get."""
        return Registry.get_component("scan_hardware_source")

    def pump(self, until: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """Run the window by hand until something is so, and return it."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.window.periodic()
            value = until()
            if value:
                return value
            assert time.monotonic() < deadline, f"it did not happen in time: {plug_in_says()}"
            time.sleep(0.01)

    def hold(self, plug_in: Any) -> None:
        """End the scan, and wait until what it brought is judged and shown; it stays so."""
        self.scan.abort_playing(sync_timeout=PATIENCE_S)
        quiet_since = time.monotonic()

        def quiet() -> bool:
            nonlocal quiet_since
            if is_busy(plug_in.service) or plug_in.ui._pending or plug_in.ui._later:
                quiet_since = time.monotonic()
            return time.monotonic() - quiet_since > _QUIET_S

        self.pump(quiet)

    def live_display(self) -> Any:
        """The display of the live HAADF image, or None before there is one."""
        reference = self.document_model.get_data_item_channel_reference(
            self.scan.hardware_source_id, self.scan.get_channel_id(0)
        )
        item = reference.data_item
        return self.document_model.get_display_item_for_data_item(item) if item is not None else None


def is_busy(service: Any) -> bool:
    """Whether frames are on their way from the scan to the server or back."""
    run = service._run
    c = run.client.counters
    ended = c.answered + c.replaced + c.dropped + c.errors
    return run.tap._slot is not None or c.submitted != ended


def plug_in_says() -> str:
    """State of the plug-in, for the message of a test that waits in vain."""
    from nionswift_plugin.stemctx import plug_in

    loaded_now = plug_in.current()
    return "no plug-in" if loaded_now is None or loaded_now.service is None else str(loaded_now.service.status)


@contextlib.contextmanager
def without_leaks() -> Iterator[None]:
    """Nion's own leak checks around what is inside."""
    AcquisitionTestContext.begin_leaks()
    setup = TestContext.TestSetup()
    try:
        yield
    finally:
        del setup
    AcquisitionTestContext.end_leaks(unittest.TestCase())


@contextlib.contextmanager
def swift(directory: Path) -> Iterator[Swift]:
    """Nion Swift with Nion's simulator, and no plug-in of ours."""
    configuration = DeviceConfiguration.AcquisitionContextConfiguration(set_configuration_location=False)
    configuration.configuration_location = str(directory)  # an empty one switches Nion's instruments off
    with without_leaks(), AcquisitionTestContext.test_context(configuration, is_app=True) as context:
        yield Swift(context)


def load(name: str) -> Any:
    """Load a plug-in as Nion Swift does, up to and with `run`."""
    module = PlugInManager.load_plug_in("nionswift_plugin", f"nionswift_plugin.{name}")
    assert module is not None, f"{name} was not loaded"
    module.run()
    return module


@contextlib.contextmanager
def loaded(settings: MicroscopeSettings = QUICK) -> Iterator[Any]:
    """Both plug-ins, loaded and unloaded again; gives the plug-in object of the live flags."""
    from nionswift_plugin.stemctx import plug_in

    exchange.install(settings)  # before the plug-in does it with settings that are too large for tests
    try:
        load("stemctx_simulator")
        load("stemctx")
        yield plug_in.current()
    finally:
        PlugInManager.unload_plug_ins()
