"""The model bundle, and the classifier that runs it over any engine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.encoding import EncodedScene
from stemctx_core.engine import Engine, OnnxRuntimeEngine
from stemctx_core.errors import BundleError
from stemctx_core.features import FEATURES
from stemctx_core.patches import SAMPLES

#: Changes when the meaning of the graph's inputs does.
INPUT_VERSION: Final = 1
INPUT_NAMES: Final = ("patches", "mean", "whiten", "log_det", "scale", "log_dose")
_CHUNK: Final = 1024
_LARGEST_MODEL_BYTES: Final = 20_000_000


@dataclass(frozen=True)
class Bundle:
    """A model as it is shipped.

    Attributes
    ----------
    onnx_bytes
        The graph, checked against the hash in the card.
    card
        Name, classes, training ranges, temperature, figures, versions.
    """

    onnx_bytes: bytes
    card: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Hash of the graph."""
        return str(self.card["sha256"])

    @property
    def name(self) -> str:
        """Name and first digits of the hash."""
        return f"{self.card['name']} {self.sha256[:12]}"

    @property
    def temperature(self) -> float:
        """What the logits are divided by before the softmax."""
        return float(self.card["temperature"])


def shipped_bundle_path() -> Path:
    """Folder of the model that comes with the package."""
    return Path(str(resources.files("stemctx_core") / "bundles" / "candidate_scorer"))


def load_bundle(path: Path | None = None) -> Bundle:
    """Read a bundle folder (``model.onnx`` and ``card.json``), the shipped one by default.

    Raises
    ------
    BundleError
        Missing, damaged, with external data, too large, or made for other inputs; nothing is executed.
    """
    folder = path or shipped_bundle_path()
    try:
        card = json.loads((folder / "card.json").read_text())
        model = folder / "model.onnx"
        if model.is_symlink() or model.stat().st_size > _LARGEST_MODEL_BYTES:
            raise BundleError(
                f"The model in {folder} is a link or larger than 20 MB. Use a bundle as exported."
            )
        onnx_bytes = model.read_bytes()
    except (OSError, ValueError) as error:
        raise BundleError(
            f"The model bundle {folder} cannot be read: {error}. Reinstall stemctx, or make one with 'stemctx train'."
        ) from error
    if hashlib.sha256(onnx_bytes).hexdigest() != card.get("sha256"):
        raise BundleError(
            f"The model in {folder} is not the one its card describes (sha256 differs). Reinstall it."
        )
    expected = {"input_version": INPUT_VERSION, "features": FEATURES, "samples": SAMPLES}
    for name, value in expected.items():
        if card.get(name) != value:
            raise BundleError(
                f"The model in {folder} was made for other inputs ({name} {card.get(name)}, this version uses {value}). "
                "Use a bundle of this version of stemctx."
            )
    return Bundle(onnx_bytes, card)


class Classifier:
    """Patches and an encoded scene to posteriors.

    Parameters
    ----------
    bundle
        The model.
    engine
        What runs it; ONNX Runtime on the CPU by default.
    """

    def __init__(self, bundle: Bundle, engine: Engine | None = None) -> None:
        self.bundle = bundle
        self.engine = engine or OnnxRuntimeEngine(bundle.onnx_bytes)

    def log_likelihood(self, patches: NDArray[np.float32], scene: EncodedScene) -> NDArray[np.float32]:
        """(n, C) calibrated log-likelihood of each candidate, up to a constant per patch."""
        context = scene.inputs()
        parts = [
            self.engine.run({"patches": patches[i : i + _CHUNK], **context})
            for i in range(0, len(patches), _CHUNK)
        ]
        if not parts:
            return np.zeros((0, len(scene.mean)), np.float32)
        return np.concatenate(parts) / np.float32(self.bundle.temperature)

    def posterior(
        self, patches: NDArray[np.float32], scene: EncodedScene, prior: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """(n, C) posterior; with a balanced prior where none is given.

        Parameters
        ----------
        prior
            (n, C) or (C,) prior probabilities; zero rules a candidate out.
        """
        return posterior_from(self.log_likelihood(patches, scene), prior)


def posterior_from(
    log_likelihood: NDArray[np.float32], prior: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Bayes' rule: likelihoods and a prior to probabilities, rows summing to 1."""
    logits = log_likelihood.astype(np.float64)
    if prior is not None:
        with np.errstate(divide="ignore"):
            logits = logits + np.log(prior)
    logits -= logits.max(axis=1, keepdims=True)
    weight = np.exp(logits)
    posterior: NDArray[np.float32] = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return posterior
