"""The whole simulated microscope without a window: for tests, scripts and `stemctx live`."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from nion.instrumentation import HardwareSource, scan_base
from nion.utils import Registry

from sim.generator import GroundTruth
from sim.geometry import FrameGeometry
from sim.instrument import CHANNELS, MicroscopeSettings, SimulatedInstrument
from sim.scan_device import SimulatedScanModule
from sim.shot import shot
from sim.specimen import Specimen
from stemctx_core.closing import Closing
from stemctx_core.errors import InputError, LibraryError

_INSTRUMENT_TYPES = {"instrument_controller", "stem_controller"}


class HeadlessMicroscope(Closing):
    """Nion's scan hardware source and STEM controller over a simulated specimen.

    A context manager; one at a time in a process, and not inside Nion Swift, which has its own.

    Parameters
    ----------
    settings
        The microscope as it is switched on.

    Raises
    ------
    LibraryError
        On opening, where the response library has nothing for the settings.
    InputError
        On opening, where the process has an instrument already.
    """

    def __init__(self, settings: MicroscopeSettings | None = None) -> None:
        self.settings = settings or MicroscopeSettings()
        self._closing = contextlib.ExitStack()
        self._instrument: SimulatedInstrument | None = None
        self._scan: Any = None

    def __enter__(self) -> Self:
        if Registry.get_component("stem_controller") is not None:
            raise InputError(
                "An instrument is already registered in this process. Close the other microscope first, "
                "or use the one of Nion Swift."
            )
        instrument = SimulatedInstrument(self.settings)
        for channel in CHANNELS:
            # Says now what cannot be rendered, and compiles the renderer before a scan waits for it.
            instrument.counts(channel, FrameGeometry((8, 8), self.settings.fov_nm / 8), self.settings.dwell_us)
        with contextlib.ExitStack() as opening:
            # Closed in the reverse of this order.
            directory = opening.enter_context(tempfile.TemporaryDirectory(prefix="stemctx-sim-"))
            opening.enter_context(_event_loop())
            HardwareSource.run()
            opening.callback(_stop_hardware_sources)
            scan_base.run(pathlib.Path(directory))
            opening.callback(scan_base.stop)
            Registry.register_component(instrument, _INSTRUMENT_TYPES)
            opening.callback(Registry.unregister_component, instrument, _INSTRUMENT_TYPES)
            opening.callback(instrument.sample.close)
            module = SimulatedScanModule(instrument, self.settings)
            opening.callback(module.device.close)
            Registry.register_component(module, {"scan_module"})
            opening.callback(Registry.unregister_component, module, {"scan_module"})
            self._scan = instrument.scan_controller
            if self._scan is None:
                raise InputError(
                    "Nion's instrumentation kit did not take the simulated scan device; what it says of it stands above. "
                    "Install the versions that stemctx asks for: pip install 'stemctx[simulator]'"
                )
            opening.callback(self._halt)
            self._instrument = instrument
            self._closing = opening.pop_all()
        return self

    def close(self) -> None:
        """Stop scanning and take everything down; safe to call twice."""
        self._closing.close()
        self._instrument = self._scan = None

    @property
    def scan(self) -> Any:
        """Nion's scan hardware source."""
        return self._opened(self._scan)

    @property
    def stem_controller(self) -> Any:
        """Nion's STEM controller, with every control."""
        return self._opened(self._instrument)

    @property
    def specimen(self) -> Specimen:
        """What is scanned."""
        specimen: Specimen = self.stem_controller.generator.specimen
        return specimen

    def frame_parameters(self, **changes: Any) -> Any:
        """Nion's current frame parameters with some changed, such as ``fov_nm``, ``center_nm`` or ``rotation_rad``."""
        parameters = self.scan.get_current_frame_parameters()
        for name, value in changes.items():
            setattr(parameters, name, value)
        return parameters

    def record(self, timeout_s: float = 60.0, **changes: Any) -> Sequence[Any]:
        """Scan one frame and wait for it.

        Parameters
        ----------
        timeout_s
            Beyond the time that the frame takes.
        changes
            As in `frame_parameters`.

        Returns
        -------
        sequence of nion.data.DataAndMetadata
            One for each enabled channel.

        Raises
        ------
        LibraryError
            Where the frame could not be rendered: an energy or an angle outside the response library.
        """
        parameters = self.frame_parameters(**changes)
        pixels = parameters.pixel_size.height * parameters.pixel_size.width
        frames: Sequence[Any] = self.scan.record_immediate(
            parameters, sync_timeout=timeout_s + pixels * parameters.pixel_time_us * 1e-6
        )
        for frame in frames:
            if error := shot(frame.metadata).error:
                raise LibraryError(error)
        return frames

    def ground_truth(self, metadata: Mapping[str, Any]) -> GroundTruth:
        """Every site of a frame and what stood there, from the metadata that the frame carries."""
        truth: GroundTruth = self.stem_controller.sample.ground_truth(shot(metadata))
        return truth

    def _halt(self) -> None:
        """Stop scanning, whatever is under way."""
        self._scan.abort_recording(sync_timeout=10.0)
        self._scan.abort_playing(sync_timeout=10.0)

    @staticmethod
    def _opened(part: Any) -> Any:
        if part is None:
            raise InputError("The simulated microscope is not open. Use it in a 'with' block.")
        return part


@contextlib.contextmanager
def _event_loop() -> Iterator[None]:
    """An event loop for this thread: Nion asks for the current one, and without a window there is none."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _stop_hardware_sources() -> None:
    HardwareSource.HardwareSourceManager().close()
    HardwareSource.stop()
