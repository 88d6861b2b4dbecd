"""Our instrument and scan device into Nion Swift, beside those of Nion's simulator, and out again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from nion.instrumentation import HardwareSource
from nion.utils import Registry

from sim.instrument import MicroscopeSettings, SimulatedInstrument
from sim.scan_device import SimulatedScanModule
from stemctx_core.errors import StemctxError

logger = logging.getLogger(__name__)

USIM_SCAN_DEVICE: Final = "usim_scan_device"
_SCAN_MODULE: Final = {"scan_module"}
_INSTRUMENT: Final = {"instrument_controller", "stem_controller"}


@dataclass(frozen=True)
class Installed:
    """What stands in the registry for us."""

    instrument: SimulatedInstrument
    scan_module: SimulatedScanModule

    @property
    def scan(self) -> Any:
        """Nion's scan hardware source."""
        return self.instrument.scan_controller


_installed: Installed | None = None


def install(settings: MicroscopeSettings | None = None) -> bool:
    """Put our instrument and scan device in; return whether they are in.

    Nion's simulator stays as it is, and its scan device can be chosen beside ours. Where a scan device of anything
    else is registered, nothing is done.
    """
    global _installed
    if _installed is not None:
        return True
    for module in Registry.get_components_by_type("scan_module"):
        if module.device.scan_device_id != USIM_SCAN_DEVICE:
            logger.warning(
                "The simulated microscope stays out: there is the scan device %s.",
                module.device.scan_device_name,
            )
            return False
    used = settings or MicroscopeSettings()
    try:
        instrument = SimulatedInstrument(used)
    except StemctxError as error:
        logger.error("The simulated microscope could not be made: %s", error)
        return False
    # The instrument first: Nion looks it up when the scan device comes.
    Registry.register_component(instrument, _INSTRUMENT)
    scan_module = SimulatedScanModule(instrument, used)
    Registry.register_component(scan_module, _SCAN_MODULE)
    _installed = Installed(instrument, scan_module)
    return True


def installed() -> Installed | None:
    """What was put in, or None."""
    return _installed


def withdraw() -> None:
    """Undo `install`: everything is as it was."""
    global _installed
    ours, _installed = _installed, None
    if ours is None:
        return
    try:
        manager = HardwareSource.HardwareSourceManager()
        if ours.scan_module.hardware_source not in manager.hardware_sources:
            return  # Nion Swift is closing, and has closed every hardware source
        if ours.scan_module in Registry.get_components_by_type("scan_module"):
            Registry.unregister_component(ours.scan_module, _SCAN_MODULE)
        if ours.instrument in Registry.get_components_by_type("stem_controller"):
            Registry.unregister_component(ours.instrument, _INSTRUMENT)
    finally:
        ours.scan_module.device.close()
        ours.instrument.sample.close()
