"""The paper's own form of the classifier at four levels of information, to compare the candidate scorer with.

One output per species of a fixed list (`stemctx_core.chemistry.species.SPECIES`): ``image`` sees the lattice-normalised patch
and the dose, ``condition`` also energy and angles, ``host`` also the host, ``candidates`` also the candidate list.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.species import SPECIES, species_mask
from stemctx_core.classifier.classifier import (
    INPUT_VERSION,
    Bundle,
    read_card,
    read_model,
    temperature_at,
)
from stemctx_core.classifier.engine import Engine, OnnxRuntimeEngine
from stemctx_core.encoding.encode import EncodedScene
from stemctx_core.errors import BundleError, InputError

LEVELS: Final = ("image", "condition", "host", "candidates")
#: The level that is told the candidate list.
_FULL_CONTEXT: Final = "candidates"
_CHUNK: Final = 1024


@dataclass(frozen=True)
class Baseline:
    """One level.

    Attributes
    ----------
    level
        Of `LEVELS`.
    bundle
        Its graph, with the card that all four share.
    engine
        What runs it.
    """

    level: str
    bundle: Bundle
    engine: Engine

    def log_posterior(self, patches: NDArray[np.float32], scene: EncodedScene) -> NDArray[np.float32]:
        """(n, SPECIES) natural logarithm of the posterior, for the prior of balanced candidates.

        Raises
        ------
        InputError
            Where a patch holds NaN or infinity.
        """
        known = {"context": scene.context}
        if self.level == _FULL_CONTEXT:
            known["listed"] = species_mask(scene.candidates)
        parts = [
            self.engine.run({"patches": patches[i : i + _CHUNK], **known})
            for i in range(0, len(patches), _CHUNK)
        ]
        if not parts:
            return np.zeros((0, len(SPECIES)), np.float32)
        logits = np.concatenate(parts).astype(np.float64)
        if not np.isfinite(logits).all():
            raise InputError("Some patches hold NaN or infinity. Leave those patches out.")
        logits /= temperature_at(self.bundle.card["temperature"][self.level], float(scene.log_dose[0]))
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits.astype(np.float32)


def shipped_baselines_path() -> Path:
    """Folder of the baselines that come with the package."""
    return Path(str(resources.files("stemctx_core") / "bundles" / "baselines"))


def load_baselines(folder: Path | None = None) -> dict[str, Baseline]:
    """Read a folder with ``card.json`` and one graph a level, the shipped one by default.

    Raises
    ------
    BundleError
        Missing, damaged, not as the card says, or made for another version.
    """
    folder = folder or shipped_baselines_path()
    card = read_card(folder)
    if card.get("input_version") != INPUT_VERSION or tuple(card.get("species", ())) != SPECIES:
        raise BundleError(
            f"The baselines in {folder} were made for other inputs or species. Use a bundle of this version of stemctx."
        )
    loaded = {}
    for level in LEVELS:
        content = read_model(folder, card, level)
        bundle = Bundle(content, {**card, "name": f"paper_form {level}", **card["files"][f"{level}.onnx"]})
        loaded[level] = Baseline(level, bundle, OnnxRuntimeEngine(content))
    return loaded
