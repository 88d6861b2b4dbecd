"""Start the server: load the model, warm it up, say READY, and end when told to."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from realtime.keys.certificates import load_server_keys
from realtime.server.defect_server import DefectServer
from realtime.server.endpoint import Endpoint
from realtime.server.pipeline import Analyzer, FramePipeline
from realtime.server.prometheus import metrics_page
from realtime.watching.json_logs import LOG_VARIABLE, json_log
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.errors import InputError, StemctxError
from stemctx_core.following.field_memory import FieldMemory

logger = logging.getLogger(__name__)

#: On Windows, how often the pipe of the parent is looked at.
_PEEK_S: Final = 0.2


class ServeSettings(msgspec.Struct, frozen=True):
    """How a server is started.

    Attributes
    ----------
    port
        0 takes a free one.
    bundle
        Folder of a model bundle; the shipped one by default.
    engine
        See `realtime.engines.select.load_classifier`.
    threads
        Of the CPU engine.
    parent_pipe
        End when standard input ends, as it does when the parent process dies however it dies.
    nice
        Lower the priority by so much, so that the microscope's window stays responsive.
    keys
        Folder of CURVE keys (`realtime.keys.folder`); needed for any address but loopback.
    frame_limit_s
        With `parent_pipe`, a frame that takes longer makes the server fall silent, for which its parent ends it.
    log_json
        File for the log as lines of JSON, with session and frame; bounded in size.
    prometheus_port
        On 127.0.0.1, for Prometheus to read counters and latencies from.
    """

    host: str = "127.0.0.1"
    port: int = 0
    bundle: Path | None = None
    engine: str = "auto"
    threads: int | None = None
    parent_pipe: bool = False
    nice: int = 0
    keys: Path | None = None
    frame_limit_s: float = 120.0
    log_json: Path | None = None
    prometheus_port: int | None = None


def field_pipeline(analyzer: Analyzer, threads: int | None = None) -> FramePipeline:
    """A pipeline for one client that adds up the evidence of the frames of one field."""
    return FramePipeline(
        analyzer, lambda shared: FieldMemory(shared) if isinstance(shared, FrameAnalyzer) else shared, threads
    )


def load_analyzer(settings: ServeSettings) -> Analyzer:
    """Load the bundle into the engine that was chosen, and run it once."""
    from realtime.engines.select import load_classifier
    from realtime.server.warmup import warm_up

    if settings.threads is not None and settings.threads < 1:
        raise InputError(f"{settings.threads} threads cannot be. Give 1 or more.")
    analyzer = FrameAnalyzer(load_classifier(settings.bundle, settings.engine, settings.threads))
    warm_up(analyzer)
    return analyzer


def serve(
    settings: ServeSettings,
    announce: Callable[[DefectServer], None],
    load: Callable[[ServeSettings], Analyzer] = load_analyzer,
) -> bool:
    """Serve until SIGTERM, SIGINT, or the end of the parent; no message ends a server.

    The port is taken before the model is loaded, so that a port in use is told at once; no client is answered
    before the model is warm.

    Parameters
    ----------
    announce
        Called when the server is ready.

    Returns
    -------
    bool
        Whether everything was closed in time; if not, the process should end without waiting.
    """
    _be_modest(settings.nice)
    ending = threading.Event()
    servers: list[DefectServer] = []

    def end(*_: object) -> None:
        ending.set()
        for server in servers:
            server.stop()

    if settings.parent_pipe:
        threading.Thread(target=_when_input_ends, args=(end,), name="stemctx-parent", daemon=True).start()
    before = {name: signal.signal(name, end) for name in (signal.SIGTERM, signal.SIGINT)}
    open_now = contextlib.ExitStack()
    try:
        open_now.enter_context(json_log(settings.log_json))
        page = open_now.enter_context(metrics_page(settings.prometheus_port))
        keys = load_server_keys(settings.keys) if settings.keys is not None else None
        endpoint = Endpoint(settings.host, settings.port, keys=keys)
        try:
            analyzer = load(settings)
        except BaseException:
            endpoint.close()
            raise
        server = DefectServer(analyzer, endpoint, pipeline=lambda: field_pipeline(analyzer, settings.threads))
        servers.append(server)
        if page is not None:
            page.show(server)
        if settings.parent_pipe:
            server.on_alive(_alive, settings.frame_limit_s)
        if ending.is_set():
            server.stop()
        else:
            announce(server)
        return server.serve()
    finally:
        open_now.close()
        for name, handler in before.items():
            signal.signal(name, handler)


def _be_modest(nice: int) -> None:
    """Leave the machine to others where they need it.

    Threads of compiled loops that wait for the next loop sleep: on a busy machine those that spin keep the others
    from their work. Read when the first such loop runs.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if nice and hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(nice)


def _alive() -> None:
    with contextlib.suppress(OSError):  # a parent that is gone is noticed by its pipe
        _say("ALIVE")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``python -m realtime.server``; exit code 2 where it cannot start."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)  # a log file takes more; the parent reads what stands here
    settings = parsed(arguments)
    try:
        clean = serve(settings, lambda server: _say(f"READY {server.port}"))
    except StemctxError as error:
        sys.stderr.write(f"stemctx: {error}\n")
        sys.exit(2)
    if not clean:
        end_now()
    sys.exit(0)


def end_now() -> NoReturn:
    """End the process under a worker that is deep in a frame, of which nothing is wanted any more."""
    sys.stdout.flush()
    os._exit(0)


def parsed(arguments: list[str] | None) -> ServeSettings:
    """Read the command line of ``python -m realtime.server``."""
    parser = argparse.ArgumentParser("python -m realtime.server", description="The stemctx inference server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keys", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--parent-pipe", action="store_true")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--frame-limit-s", type=float, default=120.0)
    # By the environment too, so that a server that a window or a command starts can be watched.
    parser.add_argument("--log-json", type=Path, default=os.environ.get(LOG_VARIABLE))
    parser.add_argument("--prometheus-port", type=int)
    return ServeSettings(**vars(parser.parse_args(arguments)))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _wait_for_its_end() -> None:
    """Return, or raise `OSError`, when standard input, a pipe, has ended."""
    if sys.platform == "win32":
        import _winapi
        import msvcrt

        # Not a read: while one waits there, loading a library that looks at standard input waits too, as those of
        # SciPy do. The standard library asks its own pipes in this way.
        pipe = msvcrt.get_osfhandle(0)
        while True:
            _winapi.PeekNamedPipe(pipe, 0)
            time.sleep(_PEEK_S)
    # os.read, not sys.stdin: a thread that holds its lock at exit would bring the interpreter down.
    while os.read(0, 4096):
        pass


def _when_input_ends(end: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        _wait_for_its_end()
    end()
    # A model that is still being loaded, or a frame that does not end, must not outlive the parent.
    threading.Event().wait(5.0)
    os._exit(0)
