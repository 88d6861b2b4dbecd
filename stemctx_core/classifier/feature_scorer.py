"""The scorer on a CPU, from the features of patches on: a scene is read once a frame, and a site costs little.

The prior of a candidate is 0 on the other sublattice, so that its score there is of no use: the network scores those
of a site's own sublattice. All of them count in how far ahead of its rivals each one is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.classifier.engine import OnnxRuntimeEngine
from stemctx_core.encoding.encode import EncodedScene

#: Of the graph that reads a scene.
SCENE_INPUT_NAMES: Final = ("mean", "whiten", "scale", "log_dose", "composition", "context")
#: Of the graph that scores features by what the other one read; the scored candidates first.
FEATURE_INPUT_NAMES: Final = ("features", "mean", "whiten", "log_det", "tempering", "reading")
#: Sites at a time: few enough that what an operator leaves is still in the cache for the next one.
_FEWEST, _MOST = 128, 512


class FeatureScorer:
    """Runs both graphs of a bundle.

    Parameters
    ----------
    engine
        Under whose conditions.
    scene_graph, features_graph
        Bytes of the ONNX files, already checked.
    """

    def __init__(self, engine: OnnxRuntimeEngine, scene_graph: bytes, features_graph: bytes) -> None:
        self._reading, self._scores = engine.beside(scene_graph), engine.beside(features_graph)

    def logits(
        self,
        features: NDArray[np.float32],
        scene: EncodedScene,
        sublattice: NDArray[np.int8] | None = None,
    ) -> NDArray[np.float32]:
        """(n, C) of each candidate, up to a constant per row.

        Parameters
        ----------
        features
            (n, FEATURES) in units of the scene's reference.
        sublattice
            (n,) 0 metal, 1 chalcogen: candidates of the other one get their Gaussian likelihood only. The network
            scores all of them where left out.
        """
        context = scene.inputs()
        reading = self._reading.run({name: context[name] for name in SCENE_INPUT_NAMES})
        logits = np.zeros((len(features), len(scene.mean)), np.float32)
        inputs, places = [], []
        for rows, own in _groups(len(features), scene, sublattice):
            order = np.argsort(~own, kind="stable")
            told = {name: context[name][order] for name in ("mean", "whiten", "log_det")}
            told |= {"tempering": reading[order, -2:], "reading": reading[own]}
            for part in _parts(rows, self._scores.threads):
                inputs.append({"features": features[part], **told})
                places.append(np.ix_(part, order))
        # Of few sites a second thread costs more than it saves.
        alone = len(features) < 2 * _FEWEST
        answers = [self._scores.run(each) for each in inputs] if alone else self._scores.run_all(inputs)
        for place, answer in zip(places, answers, strict=True):
            logits[place] = answer
        return logits


def _groups(
    count: int, scene: EncodedScene, sublattice: NDArray[np.int8] | None
) -> list[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Rows of features, and (C,) which candidates the network scores there."""
    if sublattice is None:
        return [(np.arange(count), np.ones(len(scene.mean), np.bool_))]
    of_candidates = np.array([list(Sublattice).index(c.sublattice) for c in scene.candidates])
    return [(np.flatnonzero(sublattice == code), of_candidates == code) for code in range(len(Sublattice))]


def _parts(rows: NDArray[np.intp], threads: int) -> list[NDArray[np.intp]]:
    """Rows in parts of about one size, enough of them for all threads."""
    each = min(_MOST, max(_FEWEST, -(-len(rows) // threads)))
    return np.array_split(rows, -(-len(rows) // each)) if len(rows) else []
