"""Roles, species, candidate lists and their priors."""

import itertools

import pytest

from stemctx_core.chemistry import columns
from stemctx_core.chemistry.classes import L5, L7, Candidate, Role, Sublattice, candidates, priors
from stemctx_core.chemistry.materials import benchmark_dopants, hosts
from stemctx_core.errors import InputError


def _by_species(listed: tuple[Candidate, ...]) -> dict[str, Candidate]:
    return {c.species: c for c in listed}


def test_names_of_the_benchmark() -> None:
    listed = _by_species(candidates("WSe2", ["V"]))
    assert {name: c.role.value for name, c in listed.items()} == {
        "W": "M", "V_W": "D_M", "vac_W": "vac_M", "Se2": "X2", "vac_Se": "vac_X", "vac_Se2": "vac_X2", "O_Se": "O_X",
    }  # fmt: skip
    assert {name for name, c in listed.items() if c.sublattice is Sublattice.METAL} == {"W", "V_W", "vac_W"}
    assert {name for name, c in listed.items() if not c.is_defect} == {"W", "Se2"}


def test_columns_of_the_candidates() -> None:
    listed = _by_species(candidates("MoS2", ["W"]))
    # A single vacancy leaves one chalcogen, a double vacancy nothing.
    assert listed["vac_S"].column == "S"
    assert listed["vac_S2"].column == listed["vac_Mo"].column == columns.VACANT
    assert listed["S2"].column == "S+S"
    assert listed["O_S"].column == "O+S"
    assert listed["W_Mo"].column == "W"


def test_label_spaces() -> None:
    assert len(L7) == 7
    assert set(L5) == set(L7) - {Role.METAL_VACANCY, Role.OXYGEN}


@pytest.mark.parametrize("dopants", [(), ("V",), ("V", "Re", "Nb")])
def test_priors_sum_to_one_on_each_sublattice(dopants: tuple[str, ...]) -> None:
    listed = candidates("WSe2", dopants)
    prior = priors(listed)
    for sublattice in Sublattice:
        here = [p for p, c in zip(prior, listed, strict=True) if c.sublattice is sublattice]
        assert sum(here) == pytest.approx(1)
        assert min(here) > 0


def test_priors_of_all_materials_and_the_shared_dopant_rate() -> None:
    for name, pair in itertools.product(hosts(), [("V", "Ti")]):
        listed = candidates(name, pair)
        prior = dict(zip((c.species for c in listed), priors(listed), strict=True))
        metal = listed[0].species
        assert prior[f"V_{metal}"] == prior[f"Ti_{metal}"] == pytest.approx(0.005)
        assert prior[f"vac_{metal}"] == pytest.approx(0.003)
        assert prior[metal] == pytest.approx(0.987)


def test_every_material_has_seven_roles() -> None:
    for name in ("MoS2", "MoSe2", "MoTe2", "WS2", "WSe2", "WTe2"):
        for dopant in benchmark_dopants(name):
            listed = candidates(name, [dopant])
            assert tuple(c.role for c in listed) == L7
            assert len({c.species for c in listed}) == 7


@pytest.mark.parametrize(
    ("host", "dopants", "says"),
    [
        ("WSe3", ["V"], "no host 'WSe3'"),
        ("WSe2", ["Vx"], "no element 'Vx'"),
        ("WSe2", ["W"], "is the metal of WSe2"),
        ("WSe2", ["V", "V"], "named twice"),
        ("WSe2", ["Na"], "no column of 'Na'"),
        ("WSe2", ["Se"], "no column of 'Se'"),
    ],
)
def test_bad_candidates(host: str, dopants: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        candidates(host, dopants)
