"""Which flags of a result are shown: the operator's thresholds and class filters, applied after the classifier."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import HOST_ROLES, Role
from stemctx_core.results import Decision, FrameResult

#: Roles that a flag can have, in the order of `Role`.
DEFECT_ROLES: Final = tuple(role for role in Role if role not in HOST_ROLES)


class ShownRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a flag must be like to be shown. The default shows every flag.

    Attributes
    ----------
    probability
        Least probability of its most probable species.
    entropy_nats
        Greatest posterior entropy (nats); None for no limit.
    roles
        Roles of defects that are shown.
    """

    probability: float = 0.0
    entropy_nats: float | None = None
    roles: frozenset[Role] = frozenset(DEFECT_ROLES)


def shown_sites(result: FrameResult, rule: ShownRule) -> NDArray[np.intp]:
    """Indices of the flags of a result that a rule lets through, in the order of the sites.

    A rule only narrows: what the classifier passed or could not decide never becomes a flag.
    """
    flags = result.where(Decision.FLAG)
    sites = result.sites
    keep = sites.probability[flags] >= rule.probability
    if rule.entropy_nats is not None:
        keep &= sites.entropy_nats[flags] <= rule.entropy_nats
    # A flag spread over so many defects that none of them beats the host's column belongs to no class.
    wanted = np.array([c.role in rule.roles or not c.is_defect for c in result.candidates], bool)
    keep &= wanted[sites.best[flags]]
    return flags[keep]
