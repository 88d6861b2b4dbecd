"""Every code block and command of README and docs is run, or says why not; each names options that exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stemctx_core.cli import build
from tests.docs.blocks import REPOSITORY, Block, blocks, inline_commands, pages

#: What a reader puts something of his own in the place of.
PLACE_HOLDER = re.compile(r"[A-Z]{2,}(\.[a-z0-9]+)?|\[.*")
LANGUAGES = {"sh", "bat", "python"}
ALL = [block for page in pages() for block in blocks(page)]
PAGES = [page for page in pages() if any(block.is_run for block in blocks(page))]
#: What a reader has before the first line of a page.
GIVEN = REPOSITORY / "tests" / "docs" / "given.py"


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    if block.said == "shown" or block.file_name:
        return
    if block.said:
        assert re.fullmatch(r"not run: .{10,}", block.said), f"{block.place}: '{block.said}' gives no reason"
    assert block.language in LANGUAGES, (
        f"{block.place}: '{block.language}' cannot be run; is it '<!-- shown -->'?"
    )
    assert block.said or block.language != "bat", f"{block.place}: nothing here runs Windows' commands: say so"


def parsed(words: list[str], *, whole: bool) -> None:
    """Walk down the commands and have the last one take its options; raise where it does not.

    Of a command that is not whole, as text names it, only the names are looked up.
    """
    command: Any = get_command(build())
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, words = words[0], words[1:]
        assert name in command.commands, f"there is no command '{name}'"
        command = command.commands[name]
    if not whole or any(word == "..." or PLACE_HOLDER.fullmatch(word) for word in words):
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        missing = {word.strip("[]") for word in words if word.startswith(("--", "[--"))} - known - {"--help"}
        assert not missing, f"{command.name} has no {missing}"
    elif not hasattr(command, "commands"):
        command.make_context(command.name, words)


def stemctx_words(line: str) -> list[str] | None:
    """Arguments of `stemctx` on a line, or None where it is none."""
    line = re.sub(r"\s*[|>&].*$", "", line)
    line = re.sub(r"^(\S*[/\\])?stemctx(?=\s|$)", "stemctx", line)
    return shlex.split(line)[1:] if line.startswith("stemctx") else None


COMMANDS = sorted({line for block in ALL if block.language in {"sh", "bat"} for line in block.commands})
MENTIONED = sorted({line for page in pages() for line in inline_commands(page)})


@pytest.mark.parametrize("line", [line for line in COMMANDS if stemctx_words(line)])
def test_a_command_takes_what_the_page_gives_it(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = stemctx_words(line)
    assert words
    for word in words:  # files that a page names need not be there for its options to be read
        if re.fullmatch(r"[\w./-]+\.\w+", word) and not word.startswith("/"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    parsed(words, whole=True)


@pytest.mark.parametrize("line", MENTIONED)
def test_a_command_that_the_text_names_is_there(line: str) -> None:
    parsed(stemctx_words(line) or [], whole=False)


def test_make_knows_every_target_that_a_page_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in COMMANDS if line.startswith("make ")}
    assert named
    assert named <= targets


@pytest.mark.slow  # a page is what a reader does in its first minutes: servers start, models load
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "STEMCTX_KEYS": str(tmp_path / ".stemctx" / "keys"),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "stemctx-tests-numba")),
    }  # fmt: skip
    name = page.relative_to(REPOSITORY).as_posix()
    given = subprocess.run(
        [sys.executable, str(GIVEN), name], cwd=here, env=environment, capture_output=True, text=True
    )
    assert given.returncode == 0, given.stderr
    for number, block in enumerate(blocks(page)):
        if not block.is_run:
            continue
        if block.file_name:
            (here / block.file_name).write_text(block.text)
            continue
        if block.language == "python":
            script = here / f"block_{number}.py"
            script.write_text(block.text)
            command = [sys.executable, script.name]
        else:
            command = [shutil.which("bash") or "sh", "-euc", "\n".join(block.commands)]
        ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=1500)
        assert ended.returncode == 0, f"{block.place}\n{ended.stdout[-2000:]}\n{ended.stderr[-3000:]}"
