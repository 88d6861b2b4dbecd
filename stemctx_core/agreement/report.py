"""Everything that is told of the agreement of a set of labels."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.agreement.figures import cohen_kappa
from stemctx_core.agreement.measuring import Bootstrap, Figure, Measured, confusions, fleiss, measured
from stemctx_core.agreement.ratings import DECIDED, MAJORITY, MODEL, Table, tables
from stemctx_core.labelling.sheet import Row

FORMAT: Final = 1


class Pair(msgspec.Struct, frozen=True):
    """How two raters agree.

    Attributes
    ----------
    first, second
        A person, the model, the model where it decided, or the majority; of a person against the majority, the
        majority of the others.
    sample
        Over the sites as they were drawn, each counting once.
    population
        Each site weighted by those it stands for: what would be found had all sites of the frames been labelled.
        None where no site was drawn by chance.
    """

    first: str
    second: str
    sample: Measured
    population: Measured | None


class Panel(msgspec.Struct, frozen=True):
    """How all people agree with each other: Fleiss' kappa, and over how many sites.

    Attributes
    ----------
    model_minus_people
        Mean kappa of the model with each person less the mean kappa of each two people: below 0 the model agrees with
        people less than they do with each other.
    """

    sites: int
    sample: Figure
    population: Figure | None
    model_minus_people: Figure


class Kind(msgspec.Struct, frozen=True):
    """Agreement at the sites of one kind.

    Attributes
    ----------
    name, classes
        Which sites, and what could be said of them.
    sites, frames, people
        Labelled sites, their frames, and how many each person labelled.
    ties
        Sites that no more than half of the people agree on.
    unit
        What was drawn again for the intervals.
    panel
        None for a single person.
    """

    name: str
    classes: tuple[str, ...]
    sites: int
    frames: int
    people: dict[str, int]
    ties: int
    unit: str
    pairs: list[Pair]
    panel: Panel | None


class Report(msgspec.Struct, frozen=True):
    """Agreement of the model with people and of people with each other.

    Attributes
    ----------
    resamples, seed, coverage
        Of the bootstrap.
    """

    kinds: list[Kind]
    resamples: int
    seed: int
    coverage: float
    format: int = FORMAT


def report(
    rows: Iterable[Row], unit: str = "auto", resamples: int = 2000, seed: int = 0, coverage: float = 0.95
) -> Report:
    """Measure agreement.

    Parameters
    ----------
    rows
        Labels, see `stemctx_core.agreement.ratings.read_rows`.
    unit, resamples, seed, coverage
        Of the bootstrap, see `Bootstrap`.

    Raises
    ------
    InputError
        Where there are no labels.
    """
    kinds = [_kind(table, Bootstrap(table, unit, resamples, seed, coverage)) for table in tables(rows)]
    return Report(kinds, resamples, seed, coverage)


def _kind(table: Table, draws: Bootstrap) -> Kind:
    people = [p for p, said in zip(table.people, (table.codes >= 0).T, strict=True) if said.any()]
    asked: list[tuple[str, str]] = [(MODEL, MAJORITY), (DECIDED, MAJORITY)] if len(people) > 1 else []
    asked += [(MODEL, person) for person in people]
    if len(people) == 1:
        asked.append((DECIDED, people[0]))
    asked += list(combinations(people, 2))
    if len(people) > 2:  # of two people, the majority of the others is the other one
        asked += [(person, MAJORITY) for person in people]
    pairs = [pair for names in asked if (pair := _pair(table, *names, draws)) is not None]
    return Kind(
        name=table.name,
        classes=table.classes,
        sites=len(table.codes),
        frames=len(np.unique(table.frame)),
        people={p: int((table.rater(p) >= 0).sum()) for p in people},
        ties=int((table.rater(MAJORITY) < 0).sum()),
        unit=draws.unit,
        pairs=pairs,
        panel=_panel(table, people, draws) if len(people) > 1 else None,
    )


def _pair(table: Table, first: str, second: str, draws: Bootstrap) -> Pair | None:
    said = table.rater(first), table.rater(second, without=first)
    count = len(table.classes)
    sample = measured(*said, np.ones(len(table.codes)), count, draws)
    if sample is None:
        return None
    return Pair(first, second, sample, measured(*said, _weights(table), count, draws))


def _weights(table: Table) -> NDArray[np.float64]:
    return np.nan_to_num(table.weight, nan=0.0)


def _panel(table: Table, people: list[str], draws: Bootstrap) -> Panel:
    sample, sites = fleiss(table, np.ones(len(table.codes)), draws)
    weights = _weights(table)
    population = fleiss(table, weights, draws)[0] if weights.any() else None
    with_model = _mean_kappa(table, [(MODEL, p) for p in people], draws)
    among = _mean_kappa(table, list(combinations(people, 2)), draws)
    difference = with_model - among
    return Panel(sites, sample, population, draws.figure(difference[0], difference[1:]))


def _mean_kappa(table: Table, pairs: list[tuple[str, str]], draws: Bootstrap) -> NDArray[np.float64]:
    """(1 + draws,) mean of Cohen's kappa over pairs of raters: of the sample, then of each draw of it."""
    each = []
    for first, second in pairs:
        ones = np.ones(len(table.codes))
        counts = confusions(table.rater(first), table.rater(second), ones, len(table.classes))
        each.append(cohen_kappa(np.concatenate([counts.sum(axis=0)[None], draws.totals(counts)])))
    mean: NDArray[np.float64] = np.mean(each, axis=0)
    return mean
