"""The server: judges frames for its clients, one at a time. ``python -m realtime.server`` runs one."""

from realtime.server.defect_server import DefectServer

__all__ = ["DefectServer"]
