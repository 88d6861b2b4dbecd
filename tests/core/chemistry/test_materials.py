"""Hosts, dopants and the 96 materials."""

import pytest

from stemctx_core.chemistry import columns
from stemctx_core.chemistry.elements import atomic_number
from stemctx_core.chemistry.materials import benchmark_dopants, host, hosts
from stemctx_core.errors import InputError

HOSTS = ("MoS2", "MoSe2", "MoTe2", "WS2", "WSe2", "WTe2")


def test_ninety_six_materials() -> None:
    materials = {(name, dopant) for name in HOSTS for dopant in benchmark_dopants(name)}
    assert len(materials) == 96
    assert all(host(name).metal != dopant for name, dopant in materials)


def test_near_z_cases() -> None:
    near = [
        (name, d)
        for name in HOSTS
        for d in benchmark_dopants(name)
        if abs(atomic_number(d) - atomic_number(host(name).metal)) <= 5
    ]
    assert len(near) * 6 == 126


def test_every_column_of_every_material_is_simulated() -> None:
    simulated = set(columns.standard_columns())
    for name in HOSTS:
        x = host(name).chalcogen
        assert {host(name).metal, *benchmark_dopants(name), x, f"{x}+{x}", f"O+{x}"} <= simulated


def test_hosts_are_plausible() -> None:
    for name in HOSTS:
        known = host(name)
        assert known.name == f"{known.metal}{known.chalcogen}2"
        assert 3.1 < known.a_angstrom < 3.6
        assert 3.0 < known.separation_angstrom < 3.7
        assert columns.CHALCOGEN_SEPARATION_ANGSTROM[known.chalcogen] == pytest.approx(
            known.separation_angstrom, abs=0.01
        )
    assert host("WSe2").a_angstrom == pytest.approx(3.32)


@pytest.mark.parametrize("name", ["", "wse2", "WSe", "graphene"])
def test_unknown_host_names_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="WSe2") as caught:
        host(name)
    assert all(known in str(caught.value) for known in hosts())
