"""Counters and latencies of a server for Prometheus, on a page that only this machine can read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from realtime.server import DefectServer
from realtime.watching.telemetry import BUCKET_EDGES_MS, process_status
from stemctx_core.errors import InputError, PortInUse

_HOST: Final = "127.0.0.1"


@contextmanager
def metrics_page(port: int | None) -> Iterator[MetricsPage | None]:
    """Serve ``http://127.0.0.1:<port>/metrics``; do nothing where there is no port.

    Raises
    ------
    InputError
        prometheus-client is not installed.
    PortInUse
        Another process listens there.
    """
    if port is None:
        yield None
        return
    if importlib.util.find_spec("prometheus_client") is None:
        raise InputError('Prometheus metrics need prometheus-client. Run: pip install "stemctx[telemetry]"')
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    try:
        http, thread = start_http_server(port, addr=_HOST, registry=registry)
    except OSError as error:
        raise PortInUse(
            f"The metrics page cannot listen on port {port}: {error.strerror}. Choose another."
        ) from error
    try:
        yield MetricsPage(registry, http.server_port)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class MetricsPage:
    """A page that is served; empty until `show`.

    Attributes
    ----------
    port
        Where it listens.
    """

    def __init__(self, registry: Any, port: int) -> None:
        self._registry = registry
        self.port = port

    def show(self, server: DefectServer) -> None:
        """Show a server on it from now on."""
        self._registry.register(ServerMetrics(server))


class ServerMetrics:
    """A collector in prometheus-client's sense: reads the server's telemetry when it is asked."""

    def __init__(self, server: DefectServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Any]:
        """Every metric now; durations in seconds, as Prometheus wants them."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        analyzer, telemetry, process = self._server.analyzer, self._server.telemetry, process_status()
        yield InfoMetricFamily(
            "stemctx_model",
            "What judges frames",
            {"name": analyzer.model_name, "sha256": analyzer.model_sha256, "engine": analyzer.engine_info.name},
        )
        counted = CounterMetricFamily("stemctx_events", "Messages, frames and refusals", labels=["event"])
        for name, count in telemetry.counters().items():
            counted.add_metric([name], count)
        yield counted
        stages = HistogramMetricFamily("stemctx_stage_seconds", "Duration of each stage", labels=["stage"])
        edges = [*(f"{edge / 1000:g}" for edge in BUCKET_EDGES_MS), "+Inf"]
        totals = telemetry.totals_ms()
        for name, stage in telemetry.stages().items():
            below, buckets = 0, []
            for edge, count in zip(edges, stage.counts, strict=True):
                below += count
                buckets.append((edge, below))
            stages.add_metric([name], buckets, totals.get(name, 0.0) / 1000)
        yield stages
        yield GaugeMetricFamily("stemctx_memory_bytes", "Resident memory", process.memory_bytes)
        yield GaugeMetricFamily("stemctx_open_files", "Files and sockets", process.open_files)
        yield GaugeMetricFamily("stemctx_threads", "Threads", process.threads)
        yield CounterMetricFamily("stemctx_cpu_seconds", "Processor time used", process.cpu_s)
