"""Where the answers go: tables, the page and the picture of what was found in files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realtime.files.outcome import Outcome
from realtime.files.tables import SiteTableFile, check_suffix, summary_row, write_summary
from stemctx_core.errors import InputError

if TYPE_CHECKING:
    from realtime.files.report import Report

_SUMMARY: Final = "_images"


class Answers(msgspec.Struct, frozen=True):
    """What is to be written, and where.

    Attributes
    ----------
    output
        Table of sites.
    summary
        Table of images; beside `output` where left out and there are several.
    report, thumbnails
        Page (HTML), and how many flags of an image it shows.
    overlay
        Picture (PNG) of a single image.
    """

    output: Path
    summary: Path | None = None
    report: Path | None = None
    thumbnails: int = 200
    overlay: Path | None = None

    @property
    def asked(self) -> list[Path]:
        """Files that were named."""
        return [p for p in (self.output, self.summary, self.report, self.overlay) if p is not None]

    def check(self, files: Iterable[Path]) -> None:
        """Find out before the work whether its results have a place.

        Parameters
        ----------
        files
            What is judged, and must not be written over.

        Raises
        ------
        InputError
            A place that cannot be written to, or two that are one.
        """
        for path in self.asked:
            if path.is_dir():
                raise InputError(f"{path} is a folder. Name a file.")
            if not path.parent.is_dir():
                raise InputError(f"There is no folder {path.parent} to write {path.name} to. Make it first.")
            if not os.access(path.parent, os.W_OK):
                raise InputError(f"The folder {path.parent} cannot be written to. Choose another.")
        taken = {path.resolve() for path in files}
        if len(taken.union(p.resolve() for p in self.asked)) != len(taken) + len(self.asked):
            raise InputError("The images, the tables and the pictures need a file each. Choose other names.")
        for path in self.asked:
            check_suffix(path)


def write_answers(answers: Answers, outcomes: Iterable[Outcome], several: bool) -> list[Path]:
    """Write what is asked for, the tables first, while the images come; each file appears whole or not at all.

    Parameters
    ----------
    several
        Whether there may be more than one image: sites then name theirs, and images have a table too.

    Returns
    -------
    list
        What was written.

    Raises
    ------
    InputError
        Where the disk does not take it.
    """
    report = _report(answers)
    summaries: list[dict[str, Any]] = []
    summary = answers.summary or (_beside(answers.output) if several else None)
    last: Outcome | None = None
    try:
        with SiteTableFile(answers.output, places=several) as table:
            for outcome in outcomes:
                table.add(outcome)
                summaries.append(summary_row(outcome))
                if report is not None:
                    report.add(outcome)
                last = outcome
            picture = _overlay(answers, last)
            table.finish()
        if summary is not None:
            write_summary(summary, summaries)
        if report is not None and answers.report is not None:
            report.write(answers.report)
        if picture is not None and answers.overlay is not None:
            from stemctx_core.whole_files import write_whole

            write_whole(answers.overlay, picture)
    except OSError as error:
        raise InputError(
            f"The results cannot be written: {error}. Choose another folder or free the disk."
        ) from error
    return [p for p in (answers.output, summary, answers.report, answers.overlay) if p is not None]


def _report(answers: Answers) -> Report | None:
    if answers.report is None:
        return None
    from realtime.files.report import Report

    return Report(answers.thumbnails)


def _overlay(answers: Answers, outcome: Outcome | None) -> bytes | None:
    if answers.overlay is None or outcome is None or outcome.image is None or outcome.result is None:
        return None
    from stemctx_core.look.pictures import overlay_png

    return overlay_png(outcome.image, outcome.result, outcome.label)


def _beside(output: Path) -> Path:
    return output.with_name(f"{output.stem}{_SUMMARY}{output.suffix}")
