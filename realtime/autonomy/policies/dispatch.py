"""From a survey file to what it does."""

from __future__ import annotations

import msgspec

from realtime.autonomy.policies.confirm import ConfirmResult, confirm
from realtime.autonomy.policies.follow import FollowResult, follow
from realtime.autonomy.policies.precise import PreciseResult, until_precise
from realtime.autonomy.policies.survey import SurveyResult, survey_grid
from realtime.autonomy.policies.survey_file import (
    ConfirmPolicy,
    FollowPolicy,
    Policy,
    PrecisePolicy,
    SurveyPolicy,
)
from realtime.autonomy.policies.watch import WatchResult, watch
from realtime.autonomy.session import Session

AnyResult = SurveyResult | ConfirmResult | PreciseResult | FollowResult | WatchResult


def run_policy(session: Session, policy: Policy) -> AnyResult:
    """Do what a survey file says; the name of the policy is the rule in the record."""
    if isinstance(policy, FollowPolicy):
        return _follow(session, policy)
    options = {name: getattr(policy, name) for name in policy.__struct_fields__}
    if isinstance(policy, SurveyPolicy):
        options["species"] = policy.species or None
        return survey_grid(session, **options)
    if isinstance(policy, ConfirmPolicy):
        return confirm(session, **options)
    if isinstance(policy, PrecisePolicy):
        return until_precise(session, **options)
    return watch(session, **options)


def _follow(session: Session, policy: FollowPolicy) -> FollowResult:
    """Look once, take the surest target, and follow it."""
    request = policy.scan.request(session.microscope, policy.centre_nm)
    view = session.look(request, rule="follow", key="follow/first")
    targets = session.targets(view, species=policy.species or None, reregister=False)
    target = next(targets, None)
    if target is None:
        why = view.result.refusal.reason if view.result.refusal else "nothing that is looked for is there"
        return FollowResult((), 1, (0.0, 0.0), f"There was no target in the first field: {why}.")
    return follow(session, target, close=policy.close, times=policy.times, every_s=policy.every_s)


def plain(result: AnyResult) -> dict[str, object]:
    """A result as numbers, texts, lists and dicts, with the policy's name."""
    name = type(result).__name__.removesuffix("Result").lower()
    values: dict[str, object] = msgspec.to_builtins(result)
    return {"result_of": name, **values}
