"""The exact posterior over a scene's candidates for each of its patches, as an ideal observer has it.

Each patch is judged alone, like by a classifier, on the samples that the features use, and with balanced priors over
the candidates. Hypotheses that could matter get their evidence by importance sampling, which is exact but for its
own noise; `Reference.effective` says how well its samples covered the posterior. A reference is to be trusted where
its mean entropy agrees with its negative log likelihood on patches of known label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from stemctx_core.bayes import evidence, model
from stemctx_core.bayes.configurations import Changes, changes_for
from stemctx_core.bayes.knowledge import Knowledge, told_by
from stemctx_core.bayes.likelihood import Patch, Work, log_joint, work_for
from stemctx_core.chemistry.classes import Role, Sublattice
from stemctx_core.contrast.neighbourhood import neighbourhood
from stemctx_core.dataset.groups import Group
from stemctx_core.scene import Scene
from stemctx_core.simulation.library import ResponseLibrary

#: Pairs of importance samples for each hypothesis that matters.
PAIRS: Final = 48
#: Hypotheses less likely than this beside the best (nats) keep Laplace's evidence.
_MATTERS: Final = 9.0
_NOTHING: Final = -1e18


@dataclass(frozen=True)
class Reference:
    """Posterior of the patches of one scene.

    Attributes
    ----------
    log_posterior
        (n, C) natural logarithms.
    effective
        (n,) smallest effective share of the importance samples over the hypotheses that matter; NaN where one
        hypothesis alone is left.
    """

    log_posterior: NDArray[np.float64]
    effective: NDArray[np.float64]


@dataclass(frozen=True)
class _Hypotheses:
    """What the site and, for a complex, one neighbour are; each counts to a candidate row."""

    row: NDArray[np.int64]
    own: NDArray[np.int64]
    forced: NDArray[np.int64]
    forced_kind: NDArray[np.int64]
    log_share: NDArray[np.float64]


def exact_log_posterior(
    group: Group, library: ResponseLibrary, nuisance: Knowledge | None = None
) -> NDArray[np.float64]:
    """(n, C) log posterior of each candidate, equal priors.

    Parameters
    ----------
    group
        Patches with the counts they are made of, and what is told of their scene.
    library
        What the patches were rendered with.
    nuisance
        What is known of the continuous unknowns, what the told scene says by default.

    Raises
    ------
    LibraryError
        Where the library has no answer for the optics or a column.
    """
    return reference(group, library, nuisance).log_posterior


def reference(
    group: Group, library: ResponseLibrary, nuisance: Knowledge | None = None, pairs: int = PAIRS
) -> Reference:
    """`exact_log_posterior` with how well the samples covered the posterior; 2 × `pairs` samples a hypothesis."""
    told = group.scene
    known = told_by(told) if nuisance is None else nuisance
    nodes = model.source_nodes(known)
    tables = model.source_tables(library, told, nodes)
    sites = [model.site(told, known, nodes, tables, centre) for centre in Sublattice]
    listed = [_hypotheses(told, centre) for centre in Sublattice]
    quantum = model.quantum(group.patches, group.rendered.electrons)
    inside = model.disc()
    posterior = np.zeros((len(group.patches), len(told.candidates)))
    effective = np.full(len(group.patches), np.nan)
    for i, electrons in enumerate(group.rendered.electrons):
        patch = Patch(
            electrons[inside].astype(np.float64), quantum, model.log_dose_told(told, quantum), known.dose
        )
        posterior[i], effective[i] = _one(sites, listed, patch, told, pairs, i)
    return Reference(posterior - logsumexp(posterior, axis=1, keepdims=True), effective)


def _hypotheses(told: Scene, centre: Sublattice) -> _Hypotheses:
    """Candidates of one sublattice, the host's first; a complex once for each place of its vacancy."""
    rows = [i for i, c in enumerate(told.candidates) if c.sublattice is centre]
    rows.sort(key=lambda i: told.candidates[i].is_defect)
    near = neighbourhood(centre)
    first_shell = np.flatnonzero(np.linalg.norm(near.positions, axis=1) < 0.7)[1:]
    vacancy = [c.role for c in told.candidates].index(Role.CHALCOGEN_VACANCY)
    listed: list[tuple[int, int, float]] = []
    for row in rows:
        if told.candidates[row].vacancy_beside:
            listed += [(row, int(j), -float(np.log(len(first_shell)))) for j in first_shell]
        else:
            listed.append((row, -1, 0.0))
    row_array = np.array([entry[0] for entry in listed], np.int64)
    forced = np.array([entry[1] for entry in listed], np.int64)
    return _Hypotheses(
        row_array, row_array, forced, np.full(len(listed), vacancy), np.array([entry[2] for entry in listed])
    )


@dataclass(frozen=True)
class _Solved:
    """Hypotheses around sites of one sublattice with their solutions; H of them, P scores, N columns."""

    site: model.Site
    hypotheses: _Hypotheses
    work: Work
    changes: Changes
    scores: NDArray[np.float64]
    kinds: NDArray[np.int64]
    factors: NDArray[np.float64]
    evidence: NDArray[np.float64]
    shares: NDArray[np.float64]

    def total(self, defects: float) -> NDArray[np.float64]:
        """(H,) log evidence with what the solver leaves out: that most neighbours are no defects."""
        columns = [len(set(self.site.replaced.tolist()) - {int(j)}) for j in self.hypotheses.forced]
        intact: NDArray[np.float64] = np.array(columns) * np.log1p(-defects)
        return self.evidence + intact + self.hypotheses.log_share


def _nothing_known(site: model.Site, hypotheses: _Hypotheses) -> _Solved:
    count = len(hypotheses.row)
    return _Solved(
        site,
        hypotheses,
        work_for(site),
        changes_for(site),
        np.zeros((count, site.size)),
        np.tile(site.home, (count, 1)),
        np.zeros((count, site.size, site.size)),
        np.full(count, _NOTHING),
        np.full(count, np.inf),
    )


def _one(
    sites: list[model.Site], listed: list[_Hypotheses], patch: Patch, told: Scene, pairs: int, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Log evidence of each candidate for one patch, and the smallest effective share."""
    solved = [_nothing_known(site, hypotheses) for site, hypotheses in zip(sites, listed, strict=True)]
    # The likelier sublattice first: the other one is then soon seen to be hopeless.
    solved.sort(key=lambda s: -_at_rest(s, patch))
    best = _NOTHING
    for s in solved:
        h = s.hypotheses
        evidence.solve(
            s.site, patch, h.own, h.forced, h.forced_kind,
            s.work, s.changes, best, s.scores, s.kinds, s.factors, s.evidence,
        )  # fmt: skip
        best = max(best, float(s.evidence.max()))
    totals = [s.total(told.nuisance.defects) for s in solved]
    highest = max(float(t.max()) for t in totals)
    chosen = [t > highest - _MATTERS for t in totals]
    effective = float("nan")
    if sum(int(c.sum()) for c in chosen) > 1:
        rng = np.random.default_rng(seed)
        normal = rng.standard_normal((pairs, max(site.size for site in sites)))
        uniform = rng.random((pairs, max(len(site.replaced) for site in sites)))
        laplace = [s.evidence.copy() for s in solved]
        for s, matters in zip(solved, chosen, strict=True):
            evidence.refine(
                s.site, patch, s.hypotheses.forced, s.work, s.changes, s.scores, s.kinds, s.factors, s.evidence,
                s.shares, matters, normal, uniform,
            )  # fmt: skip
        effective = min(float(s.shares.min()) for s in solved)
        # Laplace's error is much the same for all hypotheses: what was not sampled is corrected like the best one.
        first = int(np.argmax([t.max() for t in totals]))
        top = int(np.argmax(totals[first]))
        error = solved[first].evidence[top] - laplace[first][top]
        for s, matters in zip(solved, chosen, strict=True):
            s.evidence[~matters] += error
    result = np.full(len(told.candidates), -np.inf)
    for s in solved:
        for row, value in zip(s.hypotheses.row, s.total(told.nuisance.defects), strict=True):
            result[row] = np.logaddexp(result[row], value)
    return result, effective


def _at_rest(solved: _Solved, patch: Patch) -> float:
    """Best log likelihood of a sublattice's hypotheses with all unknowns in their middle."""
    z, kinds = np.zeros(solved.site.size), solved.site.home.copy()
    values = []
    for own in solved.hypotheses.own:
        kinds[0] = own
        values.append(float(log_joint(solved.site, patch, z, kinds, solved.work)))
    return max(values)
