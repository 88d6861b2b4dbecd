"""How much is drawn: the quick run that tests use, and the full one whose figures may be quoted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Plan:
    """Sizes of an evaluation.

    Attributes
    ----------
    cases
        Of the 576 that are drawn at each dose and mode, each in one scene.
    repeats
        Patches of every candidate of a scene.
    reference_cases, reference_repeats
        Of those, what the Bayes reference judges too.
    condition_scenes, condition_repeats, condition_reference_repeats
        The same for each unseen condition and each perturbed library.
    frames
        Whole frames with the wrong host declared.
    map_patches
        Points of the map of patches; 0 draws none.
    speed_patches, speed_runs
        Patches of one timed call, and how often it is timed.
    """

    name: str
    cases: int
    repeats: int
    reference_cases: int
    reference_repeats: int
    condition_scenes: int
    condition_repeats: int
    condition_reference_repeats: int
    frames: int
    map_patches: int
    speed_patches: int
    speed_runs: int


#: 576 cases × 7 roles × 9 = 36 288 patches a dose and mode, 20 250 of them L5 far-Z; the reference judges 8 064.
FULL: Final = Plan("full", 576, 9, 576, 2, 200, 4, 2, 60, 5000, 8600, 7)
QUICK: Final = Plan("quick", 36, 2, 3, 1, 4, 2, 0, 4, 0, 1024, 3)
