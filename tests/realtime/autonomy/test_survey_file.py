"""Survey files that are none, or mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.autonomy.policies.survey_file import parse_survey, read_survey_file
from stemctx_core.errors import InputError


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "{a=" * 3000 + "1" + "}" * 3000])
def test_nesting_without_end_is_told(text: str) -> None:
    with pytest.raises(InputError, match="This is not TOML"):
        parse_survey(text)


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "survey.toml"
    path.write_text("a." * 100_000 + "b=1", encoding="utf-8")
    with pytest.raises(InputError, match="Is it a survey file"):
        read_survey_file(path)
