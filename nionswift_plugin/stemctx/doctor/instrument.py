"""Which controls of the instrument answer: the one of this process, or else the simulated one."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.child import ProbeFailed, ask
from nionswift_plugin.stemctx.doctor.finding import Finding, ok, trouble, warning
from nionswift_plugin.stemctx.needed import there

TOPIC: Final = "instrument"
_PATIENCE_S: Final = 15.0
_INSIDE: Final = (
    "At the microscope open File > Python Console in Nion Swift and enter: "
    "from nionswift_plugin.stemctx import doctor; print(doctor.report())"
)


def check() -> list[Finding]:
    """Ask the running instrument inside Nion Swift, and the simulated one outside."""
    if "nion.swift.Application" in sys.modules:
        return running()
    if not all(there(name) for name in ("nion.instrumentation", "nion.usim_device", "nion.device_kit")):
        return [
            warning(
                TOPIC,
                "there is no instrument here: this is not Nion Swift, and the simulated microscope is not installed",
                f'{_INSIDE}. For the simulated one: pip install "stemctx[simulator]"',
            )
        ]
    try:
        said = ask("instrument", timeout_s=60.0)
    except ProbeFailed as error:
        return [
            warning(
                TOPIC,
                f"the simulated instrument does not start: {error}",
                'Run: pip install "stemctx[simulator]"',
            )
        ]
    return [_told("the simulated instrument", said, _INSIDE + ".")]


def probe() -> dict[str, Any]:
    """Ask the simulated instrument; for a child process."""
    from sim.instrument import MicroscopeSettings, SimulatedInstrument

    instrument = SimulatedInstrument(MicroscopeSettings())
    return ask_controls(instrument, ("HAADF", "MAADF"))


def ask_controls(stem_controller: Any, channels: tuple[str, ...]) -> dict[str, Any]:
    """What the instrument gives of an imaging context, by the controls that are known.

    Parameters
    ----------
    stem_controller
        Nion's STEM controller.
    channels
        Detector channels whose angles are asked for.

    Returns
    -------
    dict
        ``answers``: what, from which control, in words; ``silent``: what no control gives, with those tried.
    """
    from nionswift_plugin.stemctx.context.context_reader import USER_QUANTITIES, ContextReader
    from stemctx_core.context import Known

    answers, silent = {}, {}
    for channel in channels:
        context = ContextReader(stem_controller, "").read({}, channel_name=channel)
        for name, unit in USER_QUANTITIES.items():
            quantity = getattr(context, name)
            words = name.removesuffix(f"_{unit.lower()}").replace("_", " ")
            asked = f"{channel} {words}" if name.startswith(("inner", "outer")) else words
            if isinstance(quantity, Known):
                answers[asked] = f"{quantity.value:g} {unit} ({quantity.detail})"
            else:
                silent[asked] = quantity.reason
    return {"answers": answers, "silent": silent}


def running() -> list[Finding]:
    """What the instrument that is registered in this process gives; its controls are read, none is set."""
    from nion.utils import Registry

    controller = Registry.get_component("stem_controller")
    devices = Registry.get_components_by_type("scan_hardware_source")
    if controller is None or not devices:
        missing = "no instrument" if controller is None else "no scan device"
        return [
            trouble(
                TOPIC,
                f"{missing} is registered in this Nion Swift, so that no frame comes and no value can be read",
                "Install and enable the plug-in of your column, or try the simulated one: "
                'pip install "stemctx[simulator]"',
            )
        ]
    channels = tuple(sorted({str(d.get_channel_name(i)) for d in devices for i in range(d.channel_count)}))
    name = str(getattr(controller, "instrument_id", "the instrument"))
    # A control that hangs must not hang the report; the thread that waits for it ends with the program.
    answered: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(
        target=lambda: answered.put(ask_controls(controller, channels)),
        name="stemctx-doctor-controls",
        daemon=True,
    ).start()
    try:
        said = answered.get(timeout=_PATIENCE_S)
    except queue.Empty:
        return [
            trouble(
                TOPIC,
                f"{name} did not answer within {_PATIENCE_S:.0f} s",
                "Look whether the column's own software still runs, and start Nion Swift again.",
            )
        ]
    return [
        _told(
            name,
            said,
            "Add your column's names in the panel, under 'Names of the instrument's controls', or enter the values there.",
        )
    ]


def _told(what: str, said: dict[str, Any], fix: str) -> Finding:
    answers = ", ".join(f"{name} {value}" for name, value in said["answers"].items())
    if said["silent"]:
        return warning(TOPIC, f"{what} gives {answers or 'nothing'}, but not {', '.join(said['silent'])}", fix)
    return ok(TOPIC, f"{what} gives {answers}")
