"""The scorer on a CPU, from the features of patches on: a scene is read once a frame, and a site costs little.

The prior of a candidate is 0 on the other sublattice, so that its score there is of no use: the network scores those
of a site's own sublattice. All of them count in how far ahead of its rivals each one is.

Most sites of a frame with enough dose are full columns of the host beyond doubt: they are where these are expected,
and hundreds of nats away from where anything else is. There the network is not asked. What it would have left to each
other candidate is e⁻¹⁶ in the median and e⁻⁶ at most (28 000 patches of the benchmark at 10³ to 10⁶ e/Å²), before a
prior that speaks for the host; it never names another one.
"""

from __future__ import annotations

from functools import lru_cache
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
#: Without doubt: a Gaussian likelihood that is so many nats above those of all others, with a mean square of the
#: whitened features up to the second number; and what is then said of the others.
_BEYOND_DOUBT: Final = 100.0
_FITTING: Final = 2.0
_RULED_OUT: Final = -16.0


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
        # Frames of one field share a scene while their noise stays as it is.
        self._read = lru_cache(maxsize=16)(self._read_anew)

    def logits(
        self,
        features: NDArray[np.float32],
        scene: EncodedScene,
        sublattice: NDArray[np.int8] | None = None,
        squares: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """(n, C) of each candidate, up to a constant per row.

        Parameters
        ----------
        features
            (n, FEATURES) in units of the scene's reference.
        sublattice
            (n,) 0 metal, 1 chalcogen: candidates of the other one get their Gaussian likelihood only. The network
            scores all of them where left out.
        squares
            (n, C) as `stemctx_core.kernels.whitened.squares` gives them, to leave out sites that are the host's beyond
            doubt; needs `sublattice`.
        """
        logits = np.zeros((len(features), len(scene.mean)), np.float32)
        groups = []
        for rows, own in _groups(len(features), scene, sublattice):
            if squares is not None:
                sure = _beyond_doubt(squares[rows], scene, own)
                logits[rows[sure]] = np.where(own & _host(scene), 0.0, _RULED_OUT)
                rows = rows[~sure]
            groups.append((rows, own))
        doubtful = sum(len(rows) for rows, _ in groups)
        if not doubtful:
            return logits
        context, reading = scene.inputs(), self._read(scene)
        inputs, places = [], []
        for rows, own in groups:
            order = np.argsort(~own, kind="stable")
            told = {name: context[name][order] for name in ("mean", "whiten", "log_det")}
            told |= {"tempering": reading[order, -2:], "reading": reading[own]}
            for part in _parts(rows, self._scores.threads):
                inputs.append({"features": features[part], **told})
                places.append(np.ix_(part, order))
        # Of few sites a second thread costs more than it saves.
        alone = doubtful < 2 * _FEWEST
        answers = [self._scores.run(each) for each in inputs] if alone else self._scores.run_all(inputs)
        for place, answer in zip(places, answers, strict=True):
            logits[place] = answer
        return logits

    def _read_anew(self, scene: EncodedScene) -> NDArray[np.float32]:
        """(C, ...) what the scene graph says of every candidate."""
        context = scene.inputs()
        return self._reading.run({name: context[name] for name in SCENE_INPUT_NAMES})


def _groups(
    count: int, scene: EncodedScene, sublattice: NDArray[np.int8] | None
) -> list[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Rows of features, and (C,) which candidates the network scores there."""
    if sublattice is None:
        return [(np.arange(count), np.ones(len(scene.mean), np.bool_))]
    codes = range(len(Sublattice))
    return [(np.flatnonzero(sublattice == code), scene.sublattice == code) for code in codes]


def _beyond_doubt(
    squares: NDArray[np.float32], scene: EncodedScene, own: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(n,) sites that are the host's own column, and nothing else of those candidates, whatever the network says."""
    is_host = _host(scene)
    likelihood = -0.5 * (squares[:, own] + scene.log_det[own])
    ahead = likelihood[:, is_host[own]] - likelihood[:, ~is_host[own]]
    fitting = squares[:, own & is_host][:, 0] < _FITTING * scene.mean.shape[1]
    beyond: NDArray[np.bool_] = fitting & (ahead > _BEYOND_DOUBT).all(axis=1)
    return beyond


def _host(scene: EncodedScene) -> NDArray[np.bool_]:
    """(C,) which candidates are the host's own columns."""
    return np.array([not c.is_defect for c in scene.candidates])


def _parts(rows: NDArray[np.intp], threads: int) -> list[NDArray[np.intp]]:
    """Rows in parts of about one size, enough of them for all threads."""
    each = min(_MOST, max(_FEWEST, -(-len(rows) // threads)))
    return np.array_split(rows, -(-len(rows) // each)) if len(rows) else []
