"""What a dataset is of: cases, dose, classes, sampling and seed, checked before any work starts."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.dataset.cases import (
    BENCHMARK_CONVERGENCE_MRAD,
    BENCHMARK_DETECTORS_MRAD,
    BENCHMARK_ENERGIES_KV,
    Case,
)
from stemctx_core.dataset.kinds import Imperfections, Kind, Sampling
from stemctx_core.dataset.truth import TRAINING_RANGES
from stemctx_core.errors import InputError
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import response_tables

_ANY_SIGMA_ANGSTROM: Final = 0.4
_MOST_SAMPLES: Final = 10**10


class CaseChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cases as every combination of what is named; as it stands, the benchmark's 576.

    Attributes
    ----------
    hosts
        Formulas.
    dopants
        Elements on the metal site, one a case; empty for the 16 of each host.
    high_tensions_kv, detectors_mrad, convergence_mrad
        Conditions; a detector is its inner and outer angle.
    numbers
        Places in the list of combinations that are kept; empty for all.
    """

    hosts: tuple[str, ...] = tuple(materials.hosts())
    dopants: tuple[str, ...] = ()
    high_tensions_kv: tuple[float, ...] = BENCHMARK_ENERGIES_KV
    detectors_mrad: tuple[tuple[float, float], ...] = BENCHMARK_DETECTORS_MRAD
    convergence_mrad: float = BENCHMARK_CONVERGENCE_MRAD
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for inner, outer in self.detectors_mrad:
            if not (math.isfinite(inner) and math.isfinite(outer) and 0 < inner < outer):
                raise InputError(
                    f"A detector from {inner:g} to {outer:g} mrad cannot be: the inner angle comes first and is the smaller "
                    "one. Write it as 70-200."
                )
        for value in (*self.high_tensions_kv, self.convergence_mrad):
            if not (math.isfinite(value) and value > 0):
                raise InputError(
                    f"{value:g} is neither an energy (kV) nor an angle (mrad). Give it above zero."
                )
        count = len(self.all_cases())
        for number in self.numbers:
            if not 0 <= number < count:
                raise InputError(f"There is no case {number}: they are numbered 0 to {count - 1}.")

    def all_cases(self) -> list[Case]:
        """Every combination, whichever are kept."""
        return [
            Case(materials.host(name), (dopant,), kv, *detector, self.convergence_mrad)
            for name in self.hosts
            for dopant in self.dopants or materials.benchmark_dopants(name)
            for kv in self.high_tensions_kv
            for detector in self.detectors_mrad
        ]

    def cases(self) -> dict[int, Case]:
        """Cases by their number.

        Raises
        ------
        InputError
            An unknown host.
        """
        return _cases(self)


@lru_cache(maxsize=8)
def _cases(choice: CaseChoice) -> dict[int, Case]:
    listed = choice.all_cases()
    return {n: listed[n] for n in choice.numbers or range(len(listed))}


class DatasetRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a dataset is of; together with a response library it says every byte of it.

    Attributes
    ----------
    kind, samples, seed
        Patches or frames, how many, and where their random numbers start.
    choice
        Cases; each is met equally often.
    dose_e_per_angstrom2
        Lowest and highest dose, drawn uniformly in its logarithm.
    sampling, power
        How often each class is drawn; see `weights.class_weights`.
    substitutes, antisites, complexes
        Classes beyond L7; as for `classes.candidates`.
    every_defect
        Whether neighbours may be defects of every class; see `patches.neighbour_defects`.
    samples_per_scene
        Patches that share a case and its nuisances.
    samples_per_shard
        Rounded up to whole scenes.
    imperfections
        For frames: see `simulation.imaging.ImagingChain`.
    shape, pixel_size_angstrom
        Of a frame.
    """

    kind: Kind = Kind.PATCHES
    samples: int = 100_000
    seed: int = 1
    choice: CaseChoice = CaseChoice()
    dose_e_per_angstrom2: tuple[float, float] = TRAINING_RANGES["dose_e_per_angstrom2"]
    sampling: Sampling = Sampling.BALANCED
    power: float = 0.5
    substitutes: tuple[str, ...] = ()
    antisites: bool = False
    complexes: bool = False
    every_defect: bool = True
    samples_per_scene: int = 672
    samples_per_shard: int = 43_008
    imperfections: Imperfections = Imperfections.TYPICAL
    shape: tuple[int, int] = (1024, 1024)
    pixel_size_angstrom: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.dose_e_per_angstrom2
        if not (math.isfinite(high) and 0 < low <= high):
            raise InputError(
                f"A dose from {low:g} to {high:g} e/Å² cannot be: give numbers above zero, the lower one first."
            )
        for name in ("samples", "samples_per_scene", "samples_per_shard"):
            if not 1 <= getattr(self, name) <= _MOST_SAMPLES:
                raise InputError(f"{name} is {getattr(self, name)}. Give 1 to {_MOST_SAMPLES}.")
        if self.seed < 0:
            raise InputError(f"The seed of a dataset is {self.seed}. Give a whole number from 0 upwards.")
        if not 0 <= self.power <= 1:
            raise InputError(f"The power is {self.power:g}. Give 0 (balanced) to 1 (prevalence).")

    @property
    def scenes(self) -> int:
        """Scenes in all; a frame is a scene of one sample."""
        return -(-self.samples // self._per_scene)

    @property
    def _per_scene(self) -> int:
        return 1 if self.kind is Kind.FRAMES else self.samples_per_scene

    @property
    def scenes_per_shard(self) -> int:
        """Scenes in every shard but the last."""
        return -(-self.samples_per_shard // self._per_scene)

    @property
    def shards(self) -> int:
        """Shards in all."""
        return -(-self.scenes // self.scenes_per_shard)

    def samples_of(self, scene: int) -> int:
        """Samples of a scene; the last one may have fewer."""
        return min(self._per_scene, self.samples - scene * self._per_scene)

    def scenes_of(self, shard: int) -> range:
        """Scenes of a shard."""
        first = shard * self.scenes_per_shard
        return range(first, min(first + self.scenes_per_shard, self.scenes))

    def case_number(self, scene: int) -> int:
        """Case of a scene: all of them in turn, in a new order each time."""
        numbers = list(self.choice.cases())
        turn, place = divmod(scene, len(numbers))
        order = np.random.default_rng([self.seed, turn, 1]).permutation(len(numbers))
        return numbers[int(order[place])]

    def candidates(self, case: Case) -> tuple[Candidate, ...]:
        """Candidate list of a case.

        Raises
        ------
        InputError
            As `classes.candidates`.
        """
        substitutes = [s for s in self.substitutes if s != case.host.chalcogen]
        return classes.candidates(case.host.name, case.dopants, substitutes, self.antisites, self.complexes)

    def check(self, library: ResponseLibrary) -> None:
        """Refuse what could not be rendered, before anything is.

        Raises
        ------
        InputError
            An unknown host or element, a dopant that is the host's own metal.
        LibraryError
            Conditions or columns that the library does not hold.
        """
        needed: dict[Optics, set[str]] = {}
        for case in self.choice.cases().values():
            optics = case.optics(_ANY_SIGMA_ANGSTROM)
            needed.setdefault(optics, set()).update(c.column for c in self.candidates(case))
        for optics, names in needed.items():
            response_tables(library, sorted(names), optics)
