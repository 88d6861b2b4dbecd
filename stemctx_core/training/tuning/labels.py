"""Labels by hand as what the scorer trains on: features of each patch, the scene it was imaged in, weight and prior."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemctx_core.calibration.calibrate import PLAUSIBLE_RATIO
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.contrast.features import projection
from stemctx_core.encoding.encode import EncodedScene, assemble
from stemctx_core.encoding.knowledge import knowledge
from stemctx_core.encoding.prediction import predict
from stemctx_core.errors import InputError, StemctxError
from stemctx_core.judging.trained import TrainedRanges
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.hand_labels import HandLabel
from stemctx_core.scene import Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.training.tuning.shares import Drawn, fold_groups, frame_name, prior_at, role_shares, weights

#: A background beyond this is the detector's own level and not scattered electrons, as in `measure_scatter`.
_LARGEST_COUNTED_BACKGROUND: Final = 1.0


@dataclass(frozen=True)
class LabelScene:
    """Labelled patches that share what is known of them.

    Attributes
    ----------
    inputs
        The scorer's inputs beside the features, by name.
    features
        (n, FEATURES) in units of the reference.
    label
        (n,) row of the true candidate.
    log_prior
        (n, C) of each candidate at each site; candidates of the other sublattice are all but ruled out.
    weight
        (n,) of mean 1 over all labels.
    rows
        (n,) place of each label in `LabelSet.kept`.
    """

    inputs: dict[str, Tensor]
    features: Tensor
    label: Tensor
    log_prior: Tensor
    weight: Tensor
    rows: NDArray[np.intp]

    def only(self, chosen: NDArray[np.bool_]) -> LabelScene | None:
        """Those of the labels whose place in the set is chosen; None where there is none."""
        mine = chosen[self.rows]
        if not mine.any():
            return None
        at = torch.from_numpy(mine)
        return LabelScene(
            self.inputs, self.features[at], self.label[at], self.log_prior[at], self.weight[at], self.rows[mine]
        )


@dataclass(frozen=True)
class LabelSet:
    """All labels that can be trained on.

    Attributes
    ----------
    kept
        The labels, ordered by frame and place.
    scenes
        Their patches.
    fold_group
        (n,) place of each label's neighbourhood: labels of one group share columns or a frame, and are held out together.
    hashes
        SHA-256, number of labels and number of damaged lines of each file, in the order given.
    left_out
        Number of labels that cannot be used, by reason.
    drawn
        What the prior rests on.
    weighted
        Whether the labels count by their inclusion probabilities.
    """

    kept: tuple[HandLabel, ...]
    scenes: tuple[LabelScene, ...]
    fold_group: NDArray[np.intp]
    hashes: tuple[dict[str, Any], ...]
    left_out: dict[str, int]
    drawn: Drawn
    weighted: bool

    def __len__(self) -> int:
        return len(self.kept)

    def only(self, chosen: NDArray[np.bool_]) -> tuple[LabelScene, ...]:
        """Scenes with the chosen labels alone."""
        return tuple(part for s in self.scenes if (part := s.only(chosen)) is not None)

    def counts(self) -> dict[str, int]:
        """Labels by species."""
        return dict(sorted(Counter(label.label for label in self.kept).items()))

    def frames(self) -> list[dict[str, Any]]:
        """Labels by frame and species; a frame is named by a hash, since its own name may be a file's."""
        named: dict[str, Counter[str]] = {}
        for label in self.kept:
            named.setdefault(frame_name(label), Counter())[label.label] += 1
        return [{"frame": k, "counts": dict(sorted(v.items()))} for k, v in sorted(named.items())]


def read_labels(
    paths: Sequence[Path],
    library: ResponseLibrary,
    trained: TrainedRanges,
    drawn: Drawn | None = None,
) -> LabelSet:
    """Read label files and bring every label into the form that the scorer trains on.

    Parameters
    ----------
    trained
        Conditions that the model may be asked for.
    drawn
        How the sites were come by; where it is left out, by the labels themselves if each has an inclusion
        probability, and else by what is typical of a crystal.

    Raises
    ------
    InputError
        A file that cannot be read, or no label that can be used.
    """
    found: list[HandLabel] = []
    hashes: list[dict[str, Any]] = []
    for path in paths:
        read = hand_labels.read(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        hashes.append({"sha256": digest, "labels": len(read.labels), "damaged_lines": read.damaged})
        found += read.labels
    latest = hand_labels.latest(found)
    encoder = _Encoder(library, trained)
    left_out: Counter[str] = Counter()
    if superseded := len(found) - len(latest):
        left_out["a later label of the same site"] = superseded
    usable: list[tuple[HandLabel, EncodedScene, NDArray[np.float32]]] = []
    for label in sorted(latest, key=lambda x: (frame_name(x), x.y_px, x.x_px)):
        try:
            usable.append((label, *encoder.encoded(label)))
        except StemctxError as error:
            left_out[str(error)] += 1
    if not usable:
        why = "; ".join(f"{n} × {reason}" for reason, n in left_out.items()) or "the files hold none"
        raise InputError(f"No label can be used: {why}. Give files as docs/labels.md describes them.")
    kept = tuple(label for label, _, _ in usable)
    weighed = all(label.inclusion_probability is not None for label in kept)
    chosen = drawn or (Drawn.LABELS if weighed else Drawn.TYPICAL)
    weight = weights(kept) if weighed else np.ones(len(kept))
    return LabelSet(
        kept, _scenes(usable, weight, chosen), fold_groups(kept), tuple(hashes), dict(left_out), chosen, weighed
    )


class _Encoder:
    """What the scorer is told of a label; labels of one frame share it."""

    def __init__(self, library: ResponseLibrary, trained: TrainedRanges) -> None:
        self._library, self._trained = library, trained
        self._known: dict[Any, tuple[EncodedScene, float]] = {}

    def encoded(self, label: HandLabel) -> tuple[EncodedScene, NDArray[np.float32]]:
        """Inputs of the scene, and the (FEATURES,) of the patch.

        Raises
        ------
        StemctxError
            Why this label cannot be used, in words.
        """
        key = (label.context, label.calibration)
        if key not in self._known:
            self._known[key] = self._scene(label)
        scene, unit = self._known[key]
        _check_label(label, scene.candidates)
        patch = label.image.ravel().astype(np.float64)
        if not np.isfinite(patch).all():
            raise InputError("a patch that holds NaN or infinity")
        features = projection() @ ((patch - label.calibration.background) / unit)
        return scene, features.astype(np.float32)

    def _scene(self, label: HandLabel) -> tuple[EncodedScene, float]:
        context, measured = label.context.validated(), label.calibration
        known = knowledge(self._library, context)
        self._trained.check(known.optics, known.missing)
        ratio = measured.ratio_measured / measured.ratio_expected if measured.ratio_expected else 0.0
        positive = (measured.gain, measured.sigma_angstrom, measured.dose_e_per_angstrom2, ratio)
        if not (np.isfinite(positive).all() and min(positive) > 0 and np.isfinite(measured.background)):
            raise InputError("a calibration that is no calibration")
        if not PLAUSIBLE_RATIO[0] < ratio < PLAUSIBLE_RATIO[1]:
            raise InputError("a frame whose X2/M is not that of its host")
        nuisance = Nuisance(
            jitter_angstrom=max(measured.jitter_angstrom, 0.01), amplitude=measured.amplitude_sd
        )
        predictions = predict(
            self._library,
            Scene(
                host=materials.host(context.host),
                candidates=context.candidates,
                optics=replace(known.optics, sigma_angstrom=measured.sigma_angstrom),
                dose_e_per_angstrom2=1.0,
                background=0.0,
                ratio=ratio,
                nuisance=nuisance,
                missing=known.missing,
            ),
        )
        unit = measured.gain * predictions.scene_reference
        level = measured.background / unit
        counted = level if 0 <= level <= _LARGEST_COUNTED_BACKGROUND else 0.0
        scene = assemble(
            predictions, nuisance, measured.dose_e_per_angstrom2, counted, sigma_includes_scatter=True
        )
        return scene, unit


def _check_label(label: HandLabel, listed: tuple[Candidate, ...]) -> None:
    here = [c.species for c in listed if c.sublattice is label.sublattice]
    if label.label not in here:
        raise InputError(f"'{label.label}', which its context does not list for its sublattice")


def _scenes(
    usable: Sequence[tuple[HandLabel, EncodedScene, NDArray[np.float32]]],
    weight: NDArray[np.float64],
    drawn: Drawn,
) -> tuple[LabelScene, ...]:
    by_scene: dict[int, list[int]] = {}
    for row, (_, scene, _) in enumerate(usable):
        by_scene.setdefault(id(scene), []).append(row)
    shares = role_shares(usable, weight) if drawn is Drawn.LABELS else None
    made = []
    for rows in by_scene.values():
        scene = usable[rows[0]][1]
        listed = scene.candidates
        sublattices = [usable[r][0].sublattice for r in rows]
        prior = {s: prior_at(listed, s, drawn, shares) for s in set(sublattices)}
        species = [c.species for c in listed]
        made.append(
            LabelScene(
                inputs={name: torch.from_numpy(value) for name, value in scene.inputs().items()},
                features=torch.from_numpy(np.stack([usable[r][2] for r in rows])),
                label=torch.tensor([species.index(usable[r][0].label) for r in rows]),
                log_prior=torch.from_numpy(np.log(np.stack([prior[s] for s in sublattices]))).float(),
                weight=torch.from_numpy(weight[rows]).float(),
                rows=np.array(rows, np.intp),
            )
        )
    return tuple(made)
