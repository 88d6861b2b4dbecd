"""How often each species is expected: by default, set by the user, or estimated from the image.

The prior weighs every posterior. It may be set for a role or a species (`Expected`), and it may be found from the frame
itself (`estimate`): the rates under which what was seen is most probable, by expectation maximisation. Species
whose likelihoods overlap cannot be counted apart. They are counted together, and share their rate as they did before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Candidate, Role, Sublattice
from stemctx_core.errors import InputError

_ROUNDS: Final = 200
_CLOSE_ENOUGH: Final = 1e-6
#: Share of the probability that two species must have in common to be counted together.
_OVERLAP: Final = 0.15
#: Sites that the default rates count for, so that a species that no site shows keeps a rate above zero.
_SITES_OF_DEFAULT: Final = 10.0
#: Standard errors of a 95 % interval.
_INTERVAL: Final = 1.96
_LEAST: Final = 1e-5
#: What asks for the rates of the image itself, among words such as ``vac_Se=0.03``.
FROM_IMAGE: Final = "from image"


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected of a specimen where that is not the usual: the prior of every posterior.

    Attributes
    ----------
    rates
        Roles or species, each with its share of the sites of its sublattice.
    from_image
        Whether every image's own rates are found, beginning with those.
    """

    rates: tuple[tuple[str, float], ...] = ()
    from_image: bool = False

    @property
    def prevalence(self) -> dict[str, float]:
        """The rates by name; empty where all are the usual ones."""
        return dict(self.rates)

    @classmethod
    def parse(cls, text: str) -> Self:
        """What words such as ``vac_Se=0.03, V=0.01`` or ``from image`` say; raise `InputError` where that is nothing."""
        words = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
        rates = parse_prevalence(word for word in words if word != FROM_IMAGE)
        return cls(tuple(rates.items()), FROM_IMAGE in words)

    def __str__(self) -> str:
        words = [f"{name}={rate:g}" for name, rate in self.rates]
        return ", ".join([*words, *([FROM_IMAGE] if self.from_image else [])])


@dataclass(frozen=True)
class Rate:
    """How often something stands at the sites of its sublattice.

    Attributes
    ----------
    species
        One, or several that are counted together.
    value, low, high
        Rate and its interval of 95 %.
    """

    species: tuple[str, ...]
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{' or '.join(self.species)} {self.value:.2%} ({self.low:.2%} to {self.high:.2%})"


@dataclass(frozen=True)
class Estimate:
    """Rates of a frame.

    Attributes
    ----------
    rates
        Of each group of species that were counted together.
    prevalence
        Of each species, to judge by.
    """

    rates: tuple[Rate, ...]
    prevalence: dict[str, float]


def parse_prevalence(given: Iterable[str]) -> dict[str, float]:
    """Rates of roles or species from words such as ``vac_Se=0.03`` or ``vac_X=0.03``.

    Raises
    ------
    InputError
        What is not of that form, or not a rate between 0 and 1.
    """
    rates: dict[str, float] = {}
    for words in given:
        name, found, value = words.partition("=")
        try:
            rate = float(value)
        except ValueError:
            rate = float("nan")
        if not found or not name.strip() or not 0 < rate < 1:
            raise InputError(
                f"'{words}' is no prevalence. Give a role or a species and its rate, such as vac_Se=0.03."
            )
        rates[name.strip()] = rate
    return rates


def check_prevalence(prevalence: Mapping[str, float], candidates: Sequence[Candidate]) -> None:
    """Raise `InputError` for a name that is neither a role nor a listed species, or rates that leave no host."""
    species = {c.species for c in candidates}
    unknown = [name for name in prevalence if name not in species and name not in set(Role)]
    if unknown:
        defects = [c.species for c in candidates if c.is_defect]
        raise InputError(
            f"There is no species or role '{unknown[0]}' here. Name one of {', '.join(defects)}, or a role such as vac_X."
        )
    if min(classes.priors(candidates, prevalence)) <= 0:
        raise InputError("The prevalences leave nothing for the host's own columns. Give smaller ones.")


def estimate(
    log_likelihood: NDArray[np.floating[Any]],
    sublattice: NDArray[np.int8],
    candidates: Sequence[Candidate],
    start: Mapping[str, float] | None = None,
) -> Estimate:
    """Rates under which the sites are most probable.

    Parameters
    ----------
    log_likelihood
        (n, C) of sites that were judged.
    sublattice
        (n,) 0 metal, 1 chalcogen.
    start
        Rates to begin with, which a few sites' worth of weight is given to.
    """
    begun = dict(zip((c.species for c in candidates), classes.priors(candidates, start), strict=True))
    rates: list[Rate] = []
    prevalence: dict[str, float] = {}
    for code, kind in enumerate(Sublattice):
        listed = [k for k, c in enumerate(candidates) if c.sublattice is kind]
        here = np.asarray(log_likelihood, np.float64)[sublattice == code][:, listed]
        own = next(i for i, k in enumerate(listed) if not candidates[k].is_defect)
        names = [candidates[k].species for k in listed]
        prior = np.array([begun[name] for name in names])
        likelihood = np.exp(here - here.max(axis=1, keepdims=True)) if len(here) else here
        groups = _groups(likelihood * prior, own)
        together = np.stack([likelihood[:, g] @ (prior[g] / prior[g].sum()) for g in groups], axis=1)
        weight = np.array([prior[g].sum() for g in groups])
        found = _maximised(together, weight)
        error = _errors(together, found)
        for group, rate, sd in zip(groups, found, error, strict=True):
            for i in group:
                if i != own:
                    prevalence[names[i]] = max(_LEAST, float(rate * prior[i] / prior[group].sum()))
            if own not in group:
                low, high = max(0.0, rate - _INTERVAL * sd), min(1.0, rate + _INTERVAL * sd)
                rates.append(Rate(tuple(names[i] for i in group), float(rate), float(low), float(high)))
    return Estimate(tuple(rates), prevalence)


def reweighted(
    posterior: NDArray[np.floating[Any]], prior: Sequence[float], other: Sequence[float]
) -> NDArray[np.float64]:
    """(n, C) what a posterior would have been with another prior."""
    was = np.maximum(np.asarray(prior, np.float64), 1e-300)
    weight = np.asarray(posterior, np.float64) * (np.asarray(other, np.float64) / was)
    total = weight.sum(axis=1, keepdims=True)
    changed: NDArray[np.float64] = weight / np.where(total > 0, total, 1.0)
    return changed


def uniform(candidates: Sequence[Candidate]) -> tuple[float, ...]:
    """A prior under which all candidates of a sublattice are as frequent."""
    count = {kind: sum(c.sublattice is kind for c in candidates) for kind in Sublattice}
    return tuple(1 / count[c.sublattice] for c in candidates)


def _groups(weighted: NDArray[np.float64], own: int) -> list[NDArray[np.intp]]:
    """Species that cannot be counted apart, the host's own column alone."""
    count = weighted.shape[1]
    p = weighted / weighted.sum(axis=1, keepdims=True) if len(weighted) else np.zeros((1, count))
    total = np.maximum(p.sum(axis=0), 1e-12)
    common = p.T @ p / np.minimum(total[:, None], total)
    group = np.arange(count)
    for i in range(count):
        for j in range(i):
            if own not in (i, j) and common[i, j] > _OVERLAP:
                group[group == group[i]] = group[j]
    return [np.flatnonzero(group == g) for g in np.unique(group)]


def _maximised(likelihood: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) rates by expectation maximisation, the start counting as `_SITES_OF_DEFAULT` sites."""
    rates = start.copy()
    for _ in range(_ROUNDS):
        share = likelihood * rates
        share /= share.sum(axis=1, keepdims=True)
        new = (share.sum(axis=0) + _SITES_OF_DEFAULT * start) / (len(likelihood) + _SITES_OF_DEFAULT)
        settled = np.abs(new - rates).max() < _CLOSE_ENOUGH
        rates = new
        if settled:
            break
    return rates


def _errors(likelihood: NDArray[np.float64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) standard errors by the observed information, the rates adding up to 1."""
    if not len(likelihood):
        return np.ones(len(rates))
    most = int(rates.argmax())
    free = [k for k in range(len(rates)) if k != most]
    mixture = likelihood @ rates
    score = (likelihood[:, free] - likelihood[:, [most]]) / mixture[:, None]
    information = score.T @ score + np.eye(len(free)) * 1e-9
    errors = np.zeros(len(rates))
    errors[free] = np.sqrt(np.diagonal(np.linalg.inv(information)))
    errors[most] = np.sqrt(np.linalg.inv(information).sum())
    return errors
