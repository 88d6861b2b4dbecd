"""The ablation's models, which are told less than the scorer, judged patch by patch.

They name a species of a fixed list, from the patch alone, with the condition, with the host, or with the candidates.
Per patch and label set the figures of both views are kept, not the posterior over all species.

A role is what the named species is to the true host. For the models that are not told the host this grants the reader
that knowledge, not the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core import metrics
from stemctx_core.chemistry.classes import L5, L7, Role
from stemctx_core.chemistry.species import SPECIES, species_rows
from stemctx_core.classifier.baselines import Baseline, load_baselines
from stemctx_core.dataset.groups import Group
from stemctx_core.errors import BundleError
from stemctx_core.evaluation.cache import Arrays

LABEL_SETS: Final = {"L7": L7, "L5": L5}
#: What is kept of a patch in each view.
KEPT: Final = ("right", "entropy", "surprise", "confidence")
VIEWS: Final = ("role", "species")
PREFIX: Final = "told/"


class LessContext:
    """Models by name, or the reason why there are none.

    Attributes
    ----------
    missing
        Why there are no models; empty where there are.
    """

    def __init__(self, models: Mapping[str, Baseline], missing: str) -> None:
        self.models = models
        self.missing = missing

    @classmethod
    def beside(cls, bundle: Path | None) -> LessContext:
        """The models in the folder `baselines` in or beside a bundle, or the shipped ones."""
        near = [] if bundle is None else [bundle / "baselines", bundle.parent / "baselines"]
        try:
            return cls(load_baselines(next((p for p in near if p.is_dir()), None)), "")
        except BundleError as error:
            return cls({}, str(error))

    def figures(self, group: Group) -> Arrays:
        """`told/<model>`: (n, label sets, views, KEPT) float32; NaN where a label set lacks the patch's role."""
        return {PREFIX + name: self._figures(model, group) for name, model in self.models.items()}

    def _figures(self, model: Baseline, group: Group) -> NDArray[np.float32]:
        log_posterior = np.asarray(model.log_posterior(group.patches, group.encoded), np.float64)
        listed = group.scene.candidates
        species = species_rows(listed)
        roles = [_role(name, group.scene.host.metal) for name in SPECIES]
        kept = np.full((len(group.label), len(LABEL_SETS), len(VIEWS), len(KEPT)), np.nan, np.float32)
        for s, allowed in enumerate(LABEL_SETS.values()):
            columns = np.flatnonzero([r in allowed for r in roles])
            mine = np.flatnonzero([listed[i].role in allowed for i in group.label])
            true = np.searchsorted(columns, species[group.label[mine]])
            posterior = normalised(log_posterior[np.ix_(mine, columns)])
            by_role = posterior @ np.array([[roles[c] is r for r in allowed] for c in columns], float)
            role = np.array([allowed.index(listed[i].role) for i in group.label[mine]], np.int64)
            kept[mine, s, 0] = patch_figures(by_role, role)
            kept[mine, s, 1] = patch_figures(posterior, true)
        return kept


def _role(species: str, metal: str) -> Role:
    """What a species of the fixed list is to a host: its own metal is M and any other a dopant."""
    if species == "vac_M":
        return Role.METAL_VACANCY
    if species.startswith("vac_"):
        return Role.CHALCOGEN_DIVACANCY if species.endswith("2") else Role.CHALCOGEN_VACANCY
    if species.startswith("O_"):
        return Role.OXYGEN
    if species.endswith("2"):
        return Role.CHALCOGEN_PAIR
    return Role.METAL if species == metal else Role.DOPANT


def normalised(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    weight = np.exp(shifted)
    return weight / weight.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def patch_figures(posterior: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, KEPT) figures of each patch."""
    return np.stack(
        [
            posterior.argmax(axis=1) == label,
            metrics.entropies_nats(posterior),
            metrics.surprises_nats(posterior, label),
            posterior.max(axis=1),
        ],
        axis=1,
    ).astype(np.float32)
