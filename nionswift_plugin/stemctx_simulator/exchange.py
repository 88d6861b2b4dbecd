"""Our scan device in, the one of Nion's simulator out, and back again."""

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


@dataclass
class _Installed:
    """What stands in the registry for us, and what stood there before."""

    instrument: Any
    scan_module: Any
    replaced: Any


_installed: _Installed | None = None


def install(settings: MicroscopeSettings | None = None) -> bool:
    """Put our instrument and scan device in the place of the simulator's scan device; return whether it was done.

    Nion's simulated instrument and its cameras stay. Where another scan device is registered, nothing is done.
    """
    global _installed
    if _installed is not None:
        return True
    replaced = None
    for module in Registry.get_components_by_type("scan_module"):
        if module.device.scan_device_id != USIM_SCAN_DEVICE:
            logger.warning(
                "The simulated microscope stays out: there is the scan device %s.",
                module.device.scan_device_name,
            )
            return False
        replaced = module
    used = settings or MicroscopeSettings()
    try:
        instrument = SimulatedInstrument(used)
    except StemctxError as error:
        logger.error("The simulated microscope could not be made: %s", error)
        return False
    # The instrument first: a window that is open already asks a new instrument for its scan device.
    Registry.register_component(instrument, _INSTRUMENT)
    if replaced is not None:
        Registry.unregister_component(replaced, _SCAN_MODULE)
    scan_module = SimulatedScanModule(instrument, used)
    Registry.register_component(scan_module, _SCAN_MODULE)
    _installed = _Installed(instrument, scan_module, replaced)
    return True


def withdraw() -> None:
    """Undo `install`: everything is as it was."""
    global _installed
    installed, _installed = _installed, None
    if installed is None:
        return
    manager = HardwareSource.HardwareSourceManager()
    if installed.scan_module.hardware_source not in manager.hardware_sources:
        return  # Nion Swift is closing, and has closed every hardware source
    if installed.scan_module in Registry.get_components_by_type("scan_module"):
        Registry.unregister_component(installed.scan_module, _SCAN_MODULE)
    if installed.replaced is not None and not Registry.get_components_by_type("scan_module"):
        Registry.register_component(installed.replaced, _SCAN_MODULE)
    if installed.instrument in Registry.get_components_by_type("stem_controller"):
        Registry.unregister_component(installed.instrument, _INSTRUMENT)
