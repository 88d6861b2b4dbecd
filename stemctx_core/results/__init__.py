"""`FrameResult`: the one thing that overlay, table, recorder, scripts and evaluation read.

Start with `frame_result`; `site_table` is what it says of sites, `frame` what it says of the frame.
"""

from stemctx_core.results.frame import CalibrationSummary, EngineInfo, FrameIdentity, Refusal
from stemctx_core.results.frame_result import CSV_COLUMNS, FrameResult
from stemctx_core.results.site_table import DECISIONS, EDGE, SUBLATTICES, Decision, SiteTable

__all__ = [
    "CSV_COLUMNS",
    "DECISIONS",
    "EDGE",
    "SUBLATTICES",
    "CalibrationSummary",
    "Decision",
    "EngineInfo",
    "FrameIdentity",
    "FrameResult",
    "Refusal",
    "SiteTable",
]
