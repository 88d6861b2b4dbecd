"""Every command teaches by an example that it would take."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from stemctx_core.cli import build


def commands(command: Any, path: tuple[str, ...] = ("stemctx",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group of commands, with the words that lead to it."""
    yield path, command
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, (*path, name))


def examples(command: Any) -> list[list[str]]:
    """The paragraphs of a help text that are a command line, as words."""
    paragraphs = (" ".join(p.replace("\b", "").split()) for p in (command.help or "").split("\n\n"))
    return [shlex.split(p) for p in paragraphs if p.startswith("stemctx ")]


def parse(root: Any, words: list[str]) -> tuple[str, ...]:
    """Let the parsers of an example take it, without running it; give the words that led to the last command."""
    assert words[0] == "stemctx"
    command, context, path, rest = root, None, ("stemctx",), words[1:]
    while True:
        context = command.make_context(path[-1], list(rest), parent=context)
        below = getattr(command, "commands", {})
        left = [*getattr(context, "_protected_args", ()), *context.args]
        if not below or not left:
            assert not left, f"{' '.join(words)}: {left} belongs to nothing"
            return path
        assert left[0] in below, f"{' '.join(words)}: there is no command {left[0]}"
        command, path, rest = below[left[0]], (*path, left[0]), left[1:]


ROOT = typer.main.get_command(build())
ALL = dict(commands(ROOT))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example_that_its_parser_takes(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert "Not available" not in command.help, "a package is missing"
    shown = examples(command)
    assert shown, f"the help of '{' '.join(path)}' has no paragraph that starts with 'stemctx'"
    taken = [parse(ROOT, words) for words in shown]
    assert any(found[: len(path)] == path for found in taken), "the example is of another command"
