"""The metrics page: real scrapes over HTTP."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from realtime.client import DefectClient
from realtime.server.prometheus import metrics_page
from stemctx_core.errors import PortInUse
from tests.realtime.processes import server_process
from tests.realtime.support import PATIENCE_S, context, image, reserved_port, serving

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")


def scrape(port: int) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as page:
        families = parser.text_string_to_metric_families(page.read().decode())
        samples = [sample for family in families for sample in family.samples]
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for sample in samples:
        found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_counters_and_latencies_are_scraped() -> None:
    with serving() as server, metrics_page(0) as page:
        assert page is not None
        page.show(server)
        with DefectClient(f"tcp://127.0.0.1:{server.port}") as client:
            for _ in range(3):
                client.analyze(image(), context(), timeout_s=PATIENCE_S)
            found = scrape(page.port)
    assert found["stemctx_events_total"][(("event", "frames_answered"),)] == 3
    assert found["stemctx_stage_seconds_count"][(("stage", "find"),)] == 3
    assert found["stemctx_stage_seconds_sum"][(("stage", "find"),)] == pytest.approx(3 * 1.5e-3)
    buckets = {
        labels: value
        for labels, value in found["stemctx_stage_seconds_bucket"].items()
        if ("stage", "find") in labels
    }
    assert max(buckets.values()) == 3
    assert next(iter(found["stemctx_memory_bytes"].values())) > 10_000_000
    assert any(("sha256", "0" * 64) in labels for labels in found["stemctx_model_info"])


def test_a_server_process_shows_its_page_on_this_machine_only() -> None:
    with (
        reserved_port() as port,
        server_process("--prometheus-port", str(port)) as address,
        DefectClient(address) as client,
    ):
        client.analyze(image(), context(), timeout_s=PATIENCE_S)
        assert scrape(port)["stemctx_events_total"][(("event", "frames_answered"),)] == 1
        with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.2", port), 5):
            pass


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse, match="metrics page"), metrics_page(taken.getsockname()[1]):
            pass
