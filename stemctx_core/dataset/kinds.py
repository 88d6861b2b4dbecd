"""Names of what can be chosen of a dataset."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a sample is."""

    PATCHES = "patches"
    FRAMES = "frames"


class Imperfections(StrEnum):
    """Of a microscope, as `ImagingChain` knows them."""

    PRISTINE = "pristine"
    TYPICAL = "typical"
    DIFFICULT = "difficult"


class Sampling(StrEnum):
    """How often each candidate of a scene is drawn: all alike, as often as it is met, or between the two."""

    BALANCED = "balanced"
    PREVALENCE = "prevalence"
    TEMPERED = "tempered"
