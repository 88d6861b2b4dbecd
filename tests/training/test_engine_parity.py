"""One model, several ways to run it: PyTorch, ONNX Runtime in float32 and with the network in float16."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.torch

from stemctx_core.chemistry.classes import Sublattice  # noqa: E402
from stemctx_core.classifier.classifier import Bundle, Classifier, load_bundle, posterior_from  # noqa: E402
from stemctx_core.classifier.engine import Arrays, OnnxRuntimeEngine  # noqa: E402
from stemctx_core.classifier.feature_scorer import FeatureScorer  # noqa: E402
from stemctx_core.contrast.features import projection  # noqa: E402
from stemctx_core.dataset.cases import benchmark_cases  # noqa: E402
from stemctx_core.dataset.groups import make_group  # noqa: E402
from stemctx_core.evaluation.scenes import benchmark_scene  # noqa: E402
from stemctx_core.simulation.library import shipped_library  # noqa: E402
from stemctx_core.training.export import export_split  # noqa: E402
from stemctx_core.training.model import CandidateScorer, ScorerSize  # noqa: E402

#: What docs/engines.md promises of float16.
HALF_TOLERANCE, HALF_ARGMAX = 1e-2, 0.999


def shipped_net(bundle: Bundle) -> CandidateScorer:
    """The network of PyTorch with the weights of the shipped graph.

    The exporter keeps a parameter's name, but where it turned a matrix around; those follow in the order of use.
    """
    weights = {
        t.name: numpy_helper.to_array(t).copy()
        for t in onnx.load_from_string(bundle.onnx_bytes).graph.initializer
    }
    config = bundle.card["training"]["config"]
    net = CandidateScorer(ScorerSize(*(config[n] for n in ("width", "token", "layers", "heads")))).eval()
    state = net.state_dict()
    turned = [w for name, w in weights.items() if name.startswith("val_") and w.ndim == 2]
    for name, value in state.items():
        if name in weights:
            array = weights[name]
        else:
            at = next(i for i, w in enumerate(turned) if w.T.shape == tuple(value.shape))
            array = turned.pop(at).T
        state[name] = torch.from_numpy(np.ascontiguousarray(array))
    assert not turned
    net.load_state_dict(state)
    return net


def scenes() -> Iterator[Arrays]:
    """Encoded scenes of several hosts and candidate lists with rendered patches, over the doses of the benchmark."""
    rng = np.random.default_rng(17)
    cases = benchmark_cases()
    for at, dose in enumerate((1e3, 1e4, 1e5, 1e6)):
        for case in cases[at :: len(cases) // 4]:
            group = make_group(shipped_library(), benchmark_scene(case, dose, rng), 60, rng)
            yield {"patches": group.patches, **group.encoded.inputs()}


def test_torch_and_onnx_runtime_in_both_precisions_give_the_same_probabilities() -> None:
    bundle = load_bundle()
    net = shipped_net(bundle)
    full = OnnxRuntimeEngine(bundle.onnx_bytes, threads=1)
    half = OnnxRuntimeEngine(load_bundle(half=True).onnx_bytes, threads=1)
    patches, apart, half_apart, worst, half_worst = 0, 0, 0, 0.0, 0.0
    for inputs in scenes():
        with torch.no_grad():
            wanted = posterior_from(net(*(torch.from_numpy(inputs[n]) for n in bundle.card["inputs"])).numpy())
        found, low = posterior_from(full.run(inputs)), posterior_from(half.run(inputs))
        patches += len(wanted)
        worst = max(worst, float(np.abs(found - wanted).max()))
        half_worst = max(half_worst, float(np.abs(low - wanted).max()))
        apart += int((found.argmax(axis=1) != wanted.argmax(axis=1)).sum())
        half_apart += int((low.argmax(axis=1) != wanted.argmax(axis=1)).sum())
    print(
        f"{patches} patches; float32: {worst:.2g}, {apart} other; float16: {half_worst:.2g}, {half_apart} other"
    )
    assert patches > 2000
    assert worst <= 1e-3
    assert apart / patches <= 1e-3
    assert half_worst <= HALF_TOLERANCE
    assert half_apart / patches <= 1 - HALF_ARGMAX


def test_the_shipped_graphs_for_features_are_the_one_for_patches_in_two_steps() -> None:
    """Of the same weights, and for a site's own candidates of the same probabilities."""
    bundle = load_bundle()
    classifier = Classifier(bundle, OnnxRuntimeEngine(bundle.onnx_bytes, threads=1))
    assert bundle.scene_onnx_bytes is not None
    assert bundle.features_onnx_bytes is not None
    scene, features = (
        FeatureScorer(classifier.engine, *graphs)  # type: ignore[arg-type]
        for graphs in ((bundle.scene_onnx_bytes, bundle.features_onnx_bytes), export_split(shipped_net(bundle)))
    )
    rng = np.random.default_rng(18)
    for case, dose in ((0, 1e3), (40, 1e4), (77, 1e6)):
        group = make_group(shipped_library(), benchmark_scene(benchmark_cases()[case], dose, rng), 60, rng)
        seen = group.patches @ projection().T.astype(np.float32)
        own = np.array([c.sublattice for c in group.encoded.candidates])
        kinds = list(Sublattice)
        sublattice = np.array([kinds.index(own[label]) for label in group.label], np.int8)
        prior = (own[None] == np.array(kinds)[sublattice][:, None]).astype(np.float64)
        wanted = classifier.posterior(group.patches, group.encoded, prior)
        found = scene.logits(seen, group.encoded, sublattice)
        np.testing.assert_allclose(
            found, features.logits(seen, group.encoded, sublattice), atol=1e-3, rtol=1e-4
        )
        temperature = np.float32(bundle.temperature(float(group.encoded.log_dose[0])))
        assert np.abs(posterior_from(found / temperature, prior) - wanted).max() < 1e-3
