"""The rule of what is shown only narrows what the classifier flagged."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from nionswift_plugin.stemctx.service.shown import DEFECT_ROLES, ShownRule, shown_sites
from stemctx_core.chemistry.classes import HOST_ROLES, Role
from stemctx_core.results import Decision
from tests.realtime.support import refused, result

RESULT = result(200)
FLAGS = RESULT.where(Decision.FLAG)


def test_the_default_shows_every_flag() -> None:
    assert shown_sites(RESULT, ShownRule()).tolist() == FLAGS.tolist()


def test_flags_below_the_probability_go() -> None:
    kept = shown_sites(RESULT, ShownRule(probability=0.6))
    assert 0 < len(kept) < len(FLAGS)
    assert kept.tolist() == [i for i in FLAGS if RESULT.sites.probability[i] >= 0.6]


def test_flags_above_the_entropy_go() -> None:
    kept = shown_sites(RESULT, ShownRule(entropy_nats=0.8))
    assert 0 < len(kept) < len(FLAGS)
    assert kept.tolist() == [i for i in FLAGS if RESULT.sites.entropy_nats[i] <= 0.8]
    assert shown_sites(RESULT, ShownRule(entropy_nats=math.log(7))).tolist() == FLAGS.tolist()


def test_only_wanted_classes_stay() -> None:
    kept = shown_sites(RESULT, ShownRule(roles=frozenset({Role.OXYGEN})))
    assert len(kept) > 0
    assert {RESULT.role(int(i)) for i in kept} - HOST_ROLES == {Role.OXYGEN}
    none = shown_sites(RESULT, ShownRule(roles=frozenset()))
    # The known answers are random, so that some flags name a host column; those belong to no class.
    assert {RESULT.role(int(i)) for i in none} <= HOST_ROLES


def test_a_refused_frame_shows_nothing() -> None:
    assert shown_sites(refused(), ShownRule()).shape == (0,)


def test_a_rule_is_kept_in_files() -> None:
    rule = ShownRule(0.97, 0.2, frozenset(DEFECT_ROLES[:2]))
    assert msgspec.convert(msgspec.to_builtins(rule), ShownRule) == rule
    assert np.all([role not in HOST_ROLES for role in rule.roles])
