"""The server: judges frames for its clients, one at a time. ``python -m realtime.server`` runs one.

Begin with `defect_server`; `endpoint` is its socket, `sessions` its clients, `pipeline` what judges for each of them.
"""

from realtime.server.defect_server import DefectServer

__all__ = ["DefectServer"]
