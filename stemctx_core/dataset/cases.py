"""What is imaged, and how: the benchmark's 576 cases, and the conditions that are held out of every training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.materials import Host
from stemctx_core.simulation.optics import Optics

BENCHMARK_ENERGIES_KV: Final = (60.0, 80.0, 200.0)
BENCHMARK_DETECTORS_MRAD: Final = ((50.0, 120.0), (70.0, 200.0))
BENCHMARK_CONVERGENCE_MRAD: Final = 30.0
#: Conditions that no model is trained on; `materials` has the hosts and dopants.
HELD_OUT_ENERGIES_KV: Final = (100.0, 120.0, 300.0)
HELD_OUT_DETECTORS_MRAD: Final = ((60.0, 160.0), (90.0, 220.0))
HELD_OUT_CONVERGENCES_MRAD: Final = (25.0, 34.0)


@dataclass(frozen=True)
class Case:
    """One of the benchmark's 576, or any other material and condition."""

    host: Host
    dopants: tuple[str, ...]
    high_tension_kv: float
    inner_mrad: float
    outer_mrad: float
    convergence_semi_angle_mrad: float = BENCHMARK_CONVERGENCE_MRAD

    def optics(self, sigma_angstrom: float) -> Optics:
        """Probe and detector, in focus, with an effective source (Å, standard deviation per axis)."""
        return Optics(
            self.high_tension_kv,
            self.convergence_semi_angle_mrad,
            self.inner_mrad,
            self.outer_mrad,
            sigma_angstrom,
        )


def benchmark_cases() -> list[Case]:
    """The 576 cases: 96 materials × 3 energies × 2 detectors."""
    return [
        Case(host, (dopant,), kv, *detector)
        for host in materials.hosts().values()
        for dopant in materials.benchmark_dopants(host.name)
        for kv in BENCHMARK_ENERGIES_KV
        for detector in BENCHMARK_DETECTORS_MRAD
    ]
