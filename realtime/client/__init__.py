"""The client: the newest frame of a scan to a server, and its answer back; and a local server kept alive."""

from realtime.client.defect_client import DefectClient
from realtime.client.states import ClientState

__all__ = ["ClientState", "DefectClient"]
