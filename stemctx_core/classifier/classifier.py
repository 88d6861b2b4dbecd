"""The model bundle, and the classifier that runs it over any engine."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classifier.engine import Engine, OnnxRuntimeEngine
from stemctx_core.classifier.feature_scorer import FEATURE_INPUT_NAMES, SCENE_INPUT_NAMES, FeatureScorer
from stemctx_core.classifier.onnx_check import check_contents, read_contents
from stemctx_core.contrast.features import FEATURES, lifting
from stemctx_core.contrast.patches import SAMPLES
from stemctx_core.encoding.encode import EncodedScene
from stemctx_core.errors import BundleError, InputError
from stemctx_core.kernels.compiled import compiled
from stemctx_core.whole_files import write_whole

#: Changes when the meaning of the graph's inputs does.
INPUT_VERSION: Final = 2
INPUT_NAMES: Final = ("patches", "mean", "whiten", "log_det", "scale", "log_dose", "composition", "context")
_CHUNK: Final = 1024
_LARGEST_MODEL_BYTES: Final = 20_000_000
_OLDEST_OPSET: Final = 18


@dataclass(frozen=True)
class Bundle:
    """A model as it is shipped.

    Attributes
    ----------
    onnx_bytes
        The graph, checked against the hash in the card.
    card
        Name, classes, training ranges, temperature, figures, versions.
    scene_onnx_bytes, features_onnx_bytes
        The same from the features of patches on, in two steps (`stemctx_core.classifier.feature_scorer`); None in half
        precision, and in bundles without them.
    """

    onnx_bytes: bytes
    card: dict[str, Any]
    scene_onnx_bytes: bytes | None = None
    features_onnx_bytes: bytes | None = None

    @property
    def sha256(self) -> str:
        """Hash of the graph in single precision, which names the model."""
        return str(self.card["sha256"])

    @property
    def name(self) -> str:
        """Name and first digits of the hash."""
        return f"{self.card['name']} {self.sha256[:12]}"

    def temperature(self, log_dose: float) -> float:
        """What the logits are divided by before the softmax, at log10 of electrons per Å² times the reference."""
        return temperature_at(self.card["temperature"], log_dose)


def temperature_at(nodes: dict[str, list[float]], log_dose: float) -> float:
    """A card's temperature at a dose, linear between its nodes and constant beyond them."""
    return float(np.interp(log_dose, nodes["log_dose"], nodes["value"]))


def shipped_bundle_path() -> Path:
    """Folder of the model that comes with the package."""
    return Path(str(resources.files("stemctx_core") / "bundles" / "candidate_scorer"))


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write a bundle's ``card.json``, which appears whole or not at all."""
    write_whole(folder / "card.json", json.dumps(card, indent=1) + "\n")


def load_bundle(path: Path | None = None, *, half: bool = False) -> Bundle:
    """Read a bundle folder (``model.onnx``, the two graphs for features, ``card.json``), the shipped one by default.

    Parameters
    ----------
    half
        Read ``model_fp16.onnx`` instead, whose scoring network works in half precision.

    Raises
    ------
    BundleError
        Missing, damaged, with external data, too large, with other inputs or operators than its card says, or made
        for another version; nothing is executed.
    """
    folder = path or shipped_bundle_path()
    card = read_card(folder)
    expected = {"input_version": INPUT_VERSION, "features": FEATURES, "samples": SAMPLES}
    for name, value in expected.items():
        if card.get(name) != value:
            raise BundleError(
                f"The model in {folder} was made for other inputs ({name} {card.get(name)}, this version uses {value}). "
                "Use a bundle of this version of stemctx."
            )
    if tuple(card.get("inputs", ())) != INPUT_NAMES:
        raise BundleError(
            f"The card in {folder} names other inputs than this version of stemctx has. Use a bundle of this version."
        )
    if half:
        return Bundle(_scorer(folder, card, "model_fp16", INPUT_NAMES), card)
    graph = _scorer(folder, card, "model", INPUT_NAMES)
    if not {"model_scene.onnx", "model_features.onnx"} <= set(card["files"]):
        return Bundle(graph, card)
    return Bundle(
        graph,
        card,
        _scorer(folder, card, "model_scene", SCENE_INPUT_NAMES),
        _scorer(folder, card, "model_features", FEATURE_INPUT_NAMES),
    )


def _scorer(folder: Path, card: dict[str, Any], name: str, inputs: tuple[str, ...]) -> bytes:
    content = read_model(folder, card, name)
    if (found := tuple(card["files"][f"{name}.onnx"]["inputs"])) != inputs:
        raise BundleError(
            f"{name}.onnx in {folder} takes other inputs ({', '.join(found)}) than this version of stemctx gives. "
            "Use a bundle of this version."
        )
    return content


def read_card(folder: Path) -> dict[str, Any]:
    """``card.json`` of a bundle folder.

    Raises
    ------
    BundleError
        Where it is missing or not a card.
    """
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"The model bundle {folder} cannot be read: {error}. Reinstall stemctx, or make one with 'stemctx train'."
        ) from error
    if not isinstance(card, dict):
        raise BundleError(f"The card in {folder} is not a card. Reinstall stemctx.")
    return card


def read_model(folder: Path, card: dict[str, Any], name: str) -> bytes:
    """A graph of a bundle folder, checked against what the card's ``files`` says of it.

    Raises
    ------
    BundleError
        Where it is missing, damaged, a link, too large, or not as the card says.
    """
    path = folder / f"{name}.onnx"
    try:
        said = card["files"][path.name]
        digest, opset = str(said["sha256"]), int(said["opset"])
        inputs, operators = tuple(said["inputs"]), frozenset(said["operators"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"The card in {folder} does not describe {path.name} ({error}). "
            "Use a bundle of this version of stemctx, as exported by 'stemctx train'."
        ) from error
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST_MODEL_BYTES:
            raise BundleError(
                f"The model in {folder} is a link or larger than 20 MB. Use a bundle as exported."
            )
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"The model bundle {folder} cannot be read: {error}. Reinstall stemctx, or make one with 'stemctx train'."
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleError(
            f"The model in {folder} is not the one its card describes (sha256 differs). Reinstall it."
        )
    if opset < _OLDEST_OPSET:
        raise BundleError(f"The model in {folder} is of opset {opset}; use a bundle of 18 or later.")
    check_contents(read_contents(content), opset, inputs, operators)
    return content


class Classifier:
    """Patches and an encoded scene to posteriors.

    Parameters
    ----------
    bundle
        The model.
    engine
        What runs its graph for patches; ONNX Runtime on the CPU by default. ONNX Runtime also runs the graphs for
        features, where the bundle has them.
    """

    def __init__(self, bundle: Bundle, engine: Engine | None = None) -> None:
        self.bundle = bundle
        self.engine = engine or OnnxRuntimeEngine(bundle.onnx_bytes)
        self._of_features: FeatureScorer | None = None
        # A GPU keeps to one graph: it compiles each for seconds, and takes the projection in its stride.
        graphs = bundle.scene_onnx_bytes, bundle.features_onnx_bytes
        if isinstance(self.engine, OnnxRuntimeEngine) and graphs[0] is not None and graphs[1] is not None:
            self._of_features = FeatureScorer(self.engine, graphs[0], graphs[1])

    def log_likelihood(self, patches: NDArray[np.float32], scene: EncodedScene) -> NDArray[np.float32]:
        """(n, C) calibrated log-likelihood of each candidate, up to a constant per patch.

        Raises
        ------
        InputError
            Where a patch holds NaN or infinity.
        """
        context = scene.inputs()
        return self._calibrated([self.engine.run({"patches": p, **context}) for p in _chunks(patches)], scene)

    def log_likelihood_of_features(
        self,
        features: NDArray[np.float32],
        scene: EncodedScene,
        sublattice: NDArray[np.int8] | None = None,
        squares: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The same for patches that are given as their features, (n, FEATURES).

        Parameters
        ----------
        sublattice
            (n,) of the sites, 0 metal, 1 chalcogen, where candidates of the other one have no prior: what is said of
            those is then less exact, and a site costs half.
        squares
            (n, C) as of `stemctx_core.kernels.whitened.squares`, where sites that are the host's beyond doubt may be
            called so by them without the network, which leaves no trace in a posterior but is of no use where
            likelihoods are added up; see `stemctx_core.classifier.feature_scorer`.
        """
        if self._of_features is not None:
            logits = self._of_features.logits(features, scene, sublattice, squares)
            return self._calibrated([logits], scene)
        context = scene.inputs()
        lifted = (part @ lifting() for part in _chunks(features))
        return self._calibrated([self.engine.run({"patches": p, **context}) for p in lifted], scene)

    def _calibrated(self, parts: list[NDArray[np.float32]], scene: EncodedScene) -> NDArray[np.float32]:
        if not parts:
            return np.zeros((0, len(scene.mean)), np.float32)
        logits = np.concatenate(parts)
        if not np.isfinite(logits).all():
            bad = int(np.count_nonzero(~np.isfinite(logits).all(axis=1)))
            raise InputError(f"{bad} of {len(logits)} patches hold NaN or infinity. Leave those patches out.")
        return logits / np.float32(self.bundle.temperature(float(scene.log_dose[0])))

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


def _chunks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK))


def posterior_from(
    log_likelihood: NDArray[np.float32], prior: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Bayes' rule: likelihoods and a prior to probabilities, rows summing to 1."""
    posterior: NDArray[np.float32] = np.empty(log_likelihood.shape, np.float32)
    if prior is None:
        prior = np.ones(log_likelihood.shape[1:])
    _normalise(log_likelihood, np.atleast_2d(prior), posterior)
    return posterior


@compiled()
def _normalise(log_likelihood, prior, out):  # type: ignore[no-untyped-def]  # numba infers types
    """Put likelihoods times a prior, (1 or n, C), over their sum into `out`."""
    count, candidates = log_likelihood.shape
    weight = np.empty(candidates)
    for n in range(count):
        given, largest, total = prior[n if len(prior) > 1 else 0], -np.inf, 0.0
        for c in range(candidates):
            if given[c] > 0:
                largest = max(largest, np.float64(log_likelihood[n, c]))
        for c in range(candidates):
            weight[c] = given[c] * math.exp(log_likelihood[n, c] - largest) if given[c] > 0 else 0.0
            total += weight[c]
        for c in range(candidates):
            out[n, c] = weight[c] / total
