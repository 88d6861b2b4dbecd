"""The pictures of what is simulated are drawn, and what stands in their way is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from stemctx_core.cli import build
from stemctx_core.errors import InputError


def test_the_command_draws_three_pictures(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["simulate", "gallery", "--output", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "new").iterdir())
    assert [f.name for f in files] == [
        "simulated_classes.png", "simulated_frames.png", "simulated_imperfections.png",
    ]  # fmt: skip
    for file in files:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        assert pixels.std() > 30
    assert sum(f.stat().st_size for f in files) < 1.2e6


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(build(), ["simulate", "gallery", "--output", str(tmp_path / "file" / "sub")])
    assert isinstance(result.exception, InputError)
    assert "cannot be made" in str(result.exception)


@pytest.mark.parametrize(
    "name", ["simulated_classes.png", "simulated_imperfections.png", "simulated_frames.png"]
)
def test_the_documentation_has_the_pictures(name: str) -> None:
    assert (Path(__file__).parents[3] / "docs" / "images" / name).is_file()
