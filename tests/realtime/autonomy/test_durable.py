"""Whatever moment a process dies in, the file is as it was after one of its commits."""

from __future__ import annotations

import io
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.storage.durable import USER_BLOCK_BYTES, DurableFile
from stemctx_core.errors import InputError

HEAD = USER_BLOCK_BYTES


class Died(BaseException):
    """Stands for a process that is no more."""


class Dying(DurableFile):
    """Dies after it has put so many bytes on the disk."""

    left = 0

    def _write_out(self, file: io.FileIO, data: bytes) -> None:
        cut, type(self).left = data[: self.left], max(0, self.left - len(data))
        super()._write_out(file, cut)
        if len(cut) < len(data):
            raise Died


def content(path: Path, writable: bool = False) -> bytes:
    file = DurableFile(path, writable=writable)
    try:
        file.seek(HEAD)
        return file.read()
    finally:
        file.close()


def write(file: DurableFile, offset: int, data: bytes) -> None:
    file.seek(HEAD + offset)
    file.write(data)


#: Offset, bytes, and where the file is cut afterwards (or not).
CHANGES = st.lists(
    st.tuples(st.integers(0, 300), st.binary(max_size=120), st.none() | st.integers(0, 400)), max_size=5
)


@settings(max_examples=200, deadline=None)
@given(commits=st.lists(CHANGES, min_size=1, max_size=4), lives=st.integers(0, 2500), writable=st.booleans())
def test_a_commit_is_whole_or_not_there(
    commits: list[list[tuple[int, bytes, int | None]]], lives: int, writable: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        file = Dying(path, writable=True)
        Dying.left = lives
        model, old, new = bytearray(), b"", b""
        try:
            for changes in commits:
                for offset, data, end in changes:
                    write(file, offset, data)
                    if data:
                        model.extend(bytes(max(0, offset + len(data) - len(model))))
                        model[offset : offset + len(data)] = data
                    if end is not None:
                        file.truncate(HEAD + end)
                        model = model[:end].ljust(end, b"\0")
                new = bytes(model)
                file.commit()
                old = new
        except Died:
            pass
        file._file.close()  # and not its own close: nothing is tidied by what died
        for found in (content(path, writable), content(path)):
            # What was to be appended may be left behind the end of the old file.
            assert found == new or found.startswith(old)


def test_the_middle_of_applying_a_change_is_seen_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = DurableFile(path, writable=True)
    write(file, 0, b"old" * 100)
    file.commit()
    file.close()
    dying = Dying(path, writable=True)
    write(dying, 0, b"new" * 100)
    Dying.left = 16 + 16 + 8 + 8 + 1 + 16 + 300 + 4 + 100  # the whole journal, and a third of the change
    with pytest.raises(Died):
        dying.commit()
    dying._file.close()
    assert path.read_bytes()[HEAD:] == b"new" * 33 + b"n" + b"ld" + b"old" * 66
    assert content(path) == b"new" * 100
    assert content(path, writable=True) == b"new" * 100
    assert path.read_bytes()[HEAD:] == b"new" * 100
    assert os.listdir(tmp_path) == ["file"]


def test_a_journal_of_another_file_changes_nothing(tmp_path: Path) -> None:
    for name, text in (("one", b"1" * 50), ("two", b"2" * 50)):
        file = DurableFile(tmp_path / name, writable=True)
        write(file, 0, text)
        file.commit()
        write(file, 0, text[:5])
        file.commit()
        journal = file.journal_path.read_bytes()
        file.close()
    (tmp_path / "one.journal").write_bytes(journal)
    assert content(tmp_path / "one") == b"1" * 50
    first = DurableFile(tmp_path / "three", writable=True)
    write(first, 0, b"3" * 50)
    first.commit()
    (tmp_path / "one.journal").write_bytes(first.journal_path.read_bytes())
    first.close()
    assert content(tmp_path / "one", writable=True) == b"1" * 50


@pytest.mark.parametrize("junk", [b"", b"stemctx journal\n", random.Random(0).randbytes(4096)])
def test_a_damaged_journal_changes_nothing(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "file"
    file = DurableFile(path, writable=True)
    write(file, 0, b"kept")
    file.commit()
    file.close()
    (tmp_path / "file.journal").write_bytes(junk)
    assert content(path) == b"kept"


def test_one_writes_and_nobody_reads_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = DurableFile(path, writable=True)
    file.commit()
    for writable in (True, False):
        with pytest.raises(InputError, match="Another session is recording"):
            DurableFile(path, writable=writable)
    file.close()
    assert content(path) == b""


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"my only copy of the thesis")
    for writable in (True, False):
        with pytest.raises(InputError, match="not a stemctx record"):
            DurableFile(path, writable=writable)
    assert path.read_bytes() == b"my only copy of the thesis"
