"""Hosts, dopants and the 96 materials of the benchmark."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib import resources
from typing import Final

import msgspec

from stemctx_core.errors import InputError

#: Dopants on the metal site; in a Mo host W joins them, in a W host Mo.
DOPANTS: Final = (
    "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Nb", "Ru", "Rh", "Ta", "Re", "Pt", "Au",
)  # fmt: skip


class Host(msgspec.Struct, frozen=True):
    """A 1H transition-metal dichalcogenide monolayer.

    Attributes
    ----------
    a_angstrom
        Lattice constant (Å).
    separation_angstrom
        Distance of the two chalcogen planes (Å).
    """

    name: str
    metal: str
    chalcogen: str
    a_angstrom: float
    separation_angstrom: float

    @property
    def cell_angstrom2(self) -> float:
        """Area of a unit cell (Å²), which holds one metal and one chalcogen site: a²√3/2."""
        return math.sqrt(3) / 2 * self.a_angstrom**2


#: Dopants that no model is trained on; they measure how it generalises.
HELD_OUT_DOPANTS: Final = ("Zr", "Hf", "Os", "Ir", "Sn", "Zn")


@lru_cache(maxsize=1)
def hosts() -> dict[str, Host]:
    """The benchmark's six hosts by formula; the source stands in `data/hosts.json`."""
    return _read("hosts")


@lru_cache(maxsize=1)
def held_out_hosts() -> dict[str, Host]:
    """Hosts that no model is trained on, by formula."""
    return _read("held_out")


def _read(group: str) -> dict[str, Host]:
    text = resources.files("stemctx_core.data").joinpath("hosts.json").read_text(encoding="utf-8")
    return {name: Host(name=name, **values) for name, values in json.loads(text)[group].items()}


def host(name: str) -> Host:
    """Look a host up; raise `InputError` that names the known ones."""
    known_hosts = {**hosts(), **held_out_hosts()}
    try:
        return known_hosts[name]
    except KeyError:
        known = ", ".join(known_hosts)
        raise InputError(f"There is no host '{name}'. Known hosts: {known}.") from None


def benchmark_dopants(host_name: str) -> tuple[str, ...]:
    """The 16 dopants of a host in the benchmark of 96 materials."""
    other = "Mo" if host(host_name).metal == "W" else "W"
    return (*DOPANTS, other)
