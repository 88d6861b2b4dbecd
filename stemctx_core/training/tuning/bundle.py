"""A tuned model as a bundle like the shipped one, with a card that says what it was tuned on; whole or not at all."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import torch

from stemctx_core.classifier.classifier import Bundle, Classifier, load_bundle, write_card
from stemctx_core.contrast.features import lifting
from stemctx_core.errors import BundleError, InputError
from stemctx_core.simulation.library import shipped_library
from stemctx_core.training.bundles import described, scorer_graphs
from stemctx_core.training.conformal_fit import fit_bundle
from stemctx_core.training.restored import restored_scorer
from stemctx_core.training.tuning.card import card_in_words
from stemctx_core.training.tuning.labels import LabelSet
from stemctx_core.training.tuning.plan import TuningPlan
from stemctx_core.training.tuning.tunable import Tunable, log_posterior
from stemctx_core.training.tuning.tune import Tuning
from stemctx_core.whole_files import write_whole

_SUFFIX = "_tuned"
#: Largest difference of a probability between the net and what was exported of it.
_LARGEST_DIFFERENCE = 5e-3


def tunable(bundle: Bundle) -> Tunable:
    """The net of a bundle, read back from its graph.

    Raises
    ------
    BundleError
        A graph that is not of the scorer.
    """
    try:
        heads = int(bundle.card["training"]["config"]["heads"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"The model's card does not say how it was made ({error}). Use a bundle as exported by 'stemctx train'."
        ) from error
    net = restored_scorer(bundle.onnx_bytes, heads)
    if net.scene is None:
        raise BundleError("This model has no scene encoder, which tuning needs. Tune the shipped one.")
    return Tunable(net.adjustable(), bundle.card["temperature"])


def check_free(folder: Path) -> None:
    """Raise `InputError` where a bundle cannot be put without overwriting something."""
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise InputError(f"{folder} is there already. Give another --output, or delete it.")


def write_tuned(
    base: Bundle, tuning: Tuning, labels: LabelSet, plan: TuningPlan, folder: Path
) -> dict[str, Any]:
    """Write the bundle of a tuned model: it is made in a folder beside its place, and moved there when it is whole.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    InputError
        A folder that holds something.
    BundleError
        An export that does not answer as the net does.
    """
    if tuning.model is None:
        raise InputError("Nothing was tuned, so that there is no bundle to write.")
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():  # of a run that was killed
        shutil.rmtree(part)
    part.mkdir()
    graphs = scorer_graphs(tuning.model.net)
    for file, content in graphs.items():
        write_whole(part / file, content)
    write_card(part, _card(base, graphs, tuning, labels, plan))
    fit_bundle(part, scenes=plan.conformal_scenes)
    bundle = load_bundle(part)
    _check_same(bundle, tuning.model, labels)
    load_bundle(part, half=True)
    write_whole(part / "CARD.md", card_in_words(bundle.card))
    if folder.exists():
        folder.rmdir()
    part.rename(folder)
    return bundle.card


def _card(
    base: Bundle, graphs: dict[str, bytes], tuning: Tuning, labels: LabelSet, plan: TuningPlan
) -> dict[str, Any]:
    files = {file: described(content) for file, content in graphs.items()}
    kept = {k: v for k, v in base.card.items() if k not in {"conformal", "figures", "tuning"}}
    before = [
        *base.card.get("tuning", {}).get("history", []),
        {"name": base.card["name"], "sha256": base.sha256},
    ]
    return {
        **kept,
        "name": str(base.card["name"]).removesuffix(_SUFFIX) + _SUFFIX,
        "sha256": files["model.onnx"]["sha256"],
        "files": files,
        "figures": tuning.figures(),
        "tuning": {
            "from": before[-1],
            "history": before,
            "label_files": list(labels.hashes),
            "labels": len(labels),
            "left_out": labels.left_out,
            "counts": labels.counts(),
            "frames": labels.frames(),
            "drawn": labels.drawn.value,
            "weighted": labels.weighted,
            "plan": {name: getattr(plan, name) for name in plan.__struct_fields__},
            "library_sha256": shipped_library().sha256,
        },
        "versions": {"stemctx": importlib.metadata.version("stemctx"), "torch": torch.__version__},
    }


def _check_same(bundle: Bundle, model: Tunable, labels: LabelSet) -> None:
    """The exported graphs must answer for the labels as the net did."""
    classifier = Classifier(bundle)
    worst = 0.0
    for scene in labels.scenes:
        features, cooler = scene.features.numpy(), model.cooler(scene.inputs).item()
        inputs = {name: value.numpy() for name, value in scene.inputs.items()}
        logits = classifier.engine.run({"patches": features @ lifting(), **inputs}) / cooler
        told = torch.log_softmax(torch.from_numpy(logits) + scene.log_prior, dim=-1)
        worst = max(worst, (told.exp() - log_posterior(model, scene).exp()).abs().max().item())
    if not worst <= _LARGEST_DIFFERENCE:
        raise BundleError(
            f"The exported model answers differently from the tuned one (by {worst:.2g} in a probability). "
            "Update torch and onnxscript, and tune again."
        )
