"""The commands of `docs/remote.md` exist as they stand there, and its words are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from nionswift_plugin.stemctx.live import commands as live
from nionswift_plugin.stemctx.window.settings import FILE_NAME, SettingsFile
from realtime.files import commands as file_commands
from realtime.keys import commands as key_commands
from realtime.server import commands
from realtime.wire.limits import Limits

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "remote.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    """The commands that the page names."""
    made = typer.Typer()
    for room in (commands, file_commands, key_commands, live):
        room.register(made)
    return made


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_takes_what_the_page_gives_it(app: typer.Typer, line: str) -> None:
    program, name, *words = shlex.split(line)
    assert program == "stemctx"
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    if name == "keys":
        command, words = command.commands[words[0]], words[1:]
    command.make_context(name, words)  # raises where an option or an argument is wrong


def test_what_a_client_says_is_said_by_the_code() -> None:
    told = re.findall(r"^\| ([a-z][^|]*?) \| [^|]*\|$", PAGE.split("## What a client says")[1], re.MULTILINE)
    link = " ".join((ROOT / "realtime" / "client" / "link.py").read_text().split())
    assert len(told) == 5
    assert all(words in link for words in told[1:])


def test_the_settings_file_of_nion_swift_takes_what_the_page_writes(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / FILE_NAME).write_text(f"{{{lines}}}")
    read = SettingsFile(tmp_path).read()
    assert read.address == "tcp://gpu.example.org:47100"
    assert read.key_files == (Path(read.key), Path(read.server_key))
    assert f"`{FILE_NAME}`" in PAGE


def test_the_quota_is_that_of_the_code() -> None:
    assert f"more than {Limits().requests_per_s:g} messages a second" in PAGE
