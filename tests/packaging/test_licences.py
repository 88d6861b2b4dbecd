"""Every dependency stands on the page of licences, and goes together with GPL-3.0-or-later."""

from __future__ import annotations

import pytest

from docs.licences import (
    COMPATIBLE,
    PROPRIETARY,
    brought_by,
    declared,
    described,
    identifiers,
    is_installed,
    licence_of,
    page,
)

DIRECT = sorted(declared())
#: Licences of packages whose metadata says nothing that can be read, from the text in their wheels.
READ_BY_HAND: dict[str, str] = {}


def _stated(name: str) -> list[str]:
    entry = described()[name]
    return [entry[key] for key in ("licence", "older") if key in entry]


def _family(licence: str) -> set[str]:
    return {part.partition("-")[0] for part in identifiers(licence)}


def test_the_page_describes_what_is_declared_and_nothing_else() -> None:
    assert set(described()) == set(declared())
    assert all(set(entry) - {"older"} == {"licence", "for"} for entry in described().values())
    assert all(all(entry.values()) for entry in described().values())


@pytest.mark.parametrize("name", DIRECT)
def test_a_dependency_may_be_part_of_a_program_under_the_gpl(name: str) -> None:
    if PROPRIETARY.fullmatch(name):
        assert set(declared()[name].groups) <= {"tensorrt", "test"}, f"{name} must be asked for by name"
        return
    for stated in _stated(name):
        assert identifiers(stated) <= COMPATIBLE, (
            f"{name} ({stated}) does not go together with GPL-3.0-or-later"
        )


@pytest.mark.parametrize("name", DIRECT)
def test_its_licence_is_what_the_package_says(name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} is not installed here")
    found, stated = licence_of(name), _stated(name)
    assert _family(found) & set().union(*map(_family, stated)), (
        f"docs/dependencies.toml says {' and '.join(stated)}, the package '{found}'"
    )


def test_what_dependencies_bring_in_turn_goes_together_with_it_too() -> None:
    found = {n: READ_BY_HAND.get(n) or licence_of(n) for name in DIRECT for n in brought_by(name)}
    assert len(found) > 20
    wrong = {
        name: licence or "no licence in its metadata: read its text, and add it to READ_BY_HAND"
        for name, licence in found.items()
        if not identifiers(licence) <= COMPATIBLE and not PROPRIETARY.fullmatch(name)
    }
    assert not wrong


def test_nothing_proprietary_is_installed_unasked() -> None:
    always = [name for name, dependency in declared().items() if "always" in dependency.groups]
    assert not [n for name in always for n in (name, *brought_by(name)) if PROPRIETARY.fullmatch(n)]


def test_a_licence_that_does_not_go_together_is_seen() -> None:
    assert not identifiers("GPL-2.0-only") <= COMPATIBLE
    assert not identifiers("MIT AND LicenseRef-NVIDIA-SOFTWARE-LICENSE") <= COMPATIBLE
    assert identifiers("(MIT OR Apache-2.0) AND BSD-2-Clause") == {"MIT", "Apache-2.0", "BSD-2-Clause"}


def test_the_page_has_a_row_for_each() -> None:
    text = page()
    assert all(f"\n| {name} | " in text for name in DIRECT)
    assert "proprietary" in text
