"""The notebooks run from the first cell to the last, and are kept without what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
#: What a reader is to see, in the order of the cells.
SEEN = {
    "structure_to_posterior": (r"sites, \d+ of them defective", r"flags are right", r"1e\+05 e/Å²: exact"),
    "survey": (r"V_W", r"p = 0\.\d+|p = 1\.000", r"of \d+ sites, \d"),
    "folder_of_files": (
        r"cut_off\.dm4 \(unreadable\)",
        r"other\.tif \(wrong_host\)",
        r"overview\.tif \(no_lattice\)",
        r"wse2_7\.tif \(sublattices\)",
        r"still refused: cut_off\.dm4 \(unreadable\), overview\.tif \(no_lattice\)",
        r"sites, 16 columns",
        r"WSe2 with V, \d+ nm²",
        r"vac_Se on 0\.1 %",
        r"wse2_1\.dm4 +1\d flags right, 0 wrong",
        r"report\.html",
    ),
}
#: In a process of its own: the kernel client keeps threads and sockets for the life of its process.
RUN = (
    "import sys, json, nbformat; from nbclient import NotebookClient; "
    "book = nbformat.read(sys.argv[1], as_version=4); "
    "NotebookClient(book, timeout=500, resources={'metadata': {'path': sys.argv[2]}}).execute(); "
    "json.dump(book, open(sys.argv[3], 'w'))"
)


def code_cells(path: Path) -> list[dict[str, Any]]:
    """Cells that run."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_each_notebook_says_what_is_to_be_seen() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SEEN)


@pytest.mark.timeout(900)
@pytest.mark.slow  # a kernel starts, and the survey scans for half a minute
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.ipynb"
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(path), str(path.parent), str(out)],
        capture_output=True, text=True, check=False, timeout=800,
        env={**os.environ, **one_thread, "TMPDIR": str(tmp_path), "IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    outputs = [o for cell in code_cells(out) for o in cell["outputs"]]
    text = "\n".join(str(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in outputs)
    at = 0
    for words in SEEN[path.stem]:
        found = re.compile(words).search(text, at)
        assert found, f"'{words}' is not seen in order:\n{text}"
        at = found.end()
    assert any("image/png" in o.get("data", {}) for o in outputs), "no picture"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_output(path: Path) -> None:
    cells = code_cells(path)
    assert cells
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
