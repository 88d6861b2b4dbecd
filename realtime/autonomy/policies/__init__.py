"""Policies: what to look at next. Each is a function of a session, short enough to be read and copied."""

from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.confirm import ConfirmResult, Revisit, confirm
from realtime.autonomy.policies.follow import FollowResult, follow
from realtime.autonomy.policies.planning import DosePlanner
from realtime.autonomy.policies.precise import PreciseResult, until_precise
from realtime.autonomy.policies.survey import SurveyResult, survey_grid
from realtime.autonomy.policies.watch import WatchResult, watch

__all__ = [
    "Area",
    "ConfirmResult",
    "DosePlanner",
    "FieldScan",
    "FollowResult",
    "PreciseResult",
    "Revisit",
    "SurveyResult",
    "WatchResult",
    "confirm",
    "follow",
    "survey_grid",
    "until_precise",
    "watch",
]
