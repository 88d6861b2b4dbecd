"""One inference server for all tests of this room, as its own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from realtime.supervisor import LocalServer


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    with LocalServer() as server:
        yield server.address
