"""For scripts: a session on the microscope that is there.

Inside Nion Swift that is the one that the user works with; in a terminal or a notebook it is the simulated one. A
script that opens its session here runs in all three places as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from nion.utils import Registry

from nionswift_plugin.stemctx.scripting.microscope import NionMicroscope
from nionswift_plugin.stemctx.scripting.sessions import OPEN_SESSIONS
from nionswift_plugin.stemctx.scripting.survey_microscope import SurveySettings, simulated
from realtime.autonomy.limits import Limits
from realtime.autonomy.record.recorder import Recorder
from realtime.autonomy.session import Session
from sim.instrument import MicroscopeSettings
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.errors import InputError

__all__ = ["open_session"]


@contextlib.contextmanager
def open_session(
    host: str = "WSe2",
    dopants: tuple[str, ...] = ("V",),
    *,
    limits: Limits | None = None,
    record: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    settings: MicroscopeSettings | None = None,
) -> Iterator[Session]:
    """Open a session, and leave the microscope as it was; in Nion Swift the panel can stop it.

    Parameters
    ----------
    host, dopants
        What is imaged, and which dopants are looked for.
    limits
        What the session may cost.
    record
        File that everything is written to; nothing is kept without one.
    resume
        Go on with the record that is there.
    dry_run
        Do everything but act.
    settings
        Of the simulated microscope, where that is taken; a specimen of the host with the first dopant by default.

    Raises
    ------
    InputError
        A record that is there already, or a microscope that cannot be used.
    """
    with contextlib.ExitStack() as opening:
        if Registry.get_component("stem_controller") is not None:
            microscope = NionMicroscope.running(host, dopants)
        else:
            if len(dopants) > 1 and settings is None:
                raise InputError(
                    f"The simulated specimen holds one dopant, not {', '.join(dopants)}. Name one, or give settings."
                )
            settings = settings or SurveySettings(host=host, dopant=dopants[0] if dopants else None)
            microscope = opening.enter_context(simulated(settings))[0]
        said = {
            "host": host,
            "dopants": list(dopants),
            "limits": msgspec.to_builtins(limits or Limits()),
            "dry_run": dry_run,
            "microscope": "simulated" if settings is not None else "Nion Swift's",
        }
        recorder = (
            opening.enter_context(Recorder.open(record, session=said, resume=resume))
            if record is not None
            else None
        )
        session = opening.enter_context(
            Session(microscope, FrameAnalyzer.shipped(), limits=limits, record=recorder, dry_run=dry_run)
        )
        yield opening.enter_context(OPEN_SESSIONS.holding(session))
