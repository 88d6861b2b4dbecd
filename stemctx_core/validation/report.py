"""The files of a validation: everything in JSON, a page of tables in Markdown, two pictures."""

from __future__ import annotations

import json
from pathlib import Path

from stemctx_core.validation.outcome import Validation
from stemctx_core.validation.page import report_page
from stemctx_core.validation.plots import draw_errors, draw_limits


def write(told: Validation, folder: Path) -> None:
    """Write ``validation.json``, ``validation.md`` and the pictures."""
    (folder / "validation.json").write_text(json.dumps(told.document(), indent=1) + "\n", encoding="utf-8")
    draw_errors(told.errors, folder / "site_errors.png")
    if "superposition_limits" in told.studies:
        draw_limits(told.studies["superposition_limits"], folder / "superposition_limits.png")
    (folder / "validation.md").write_text(report_page(told), encoding="utf-8")
