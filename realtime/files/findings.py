"""`analyze_files`: a folder judged in one call, and all that became of it in one object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime.files.batch import Progress, Stack, analyze
from realtime.files.densities import Density, densities, pooled
from realtime.files.judging import Judge, JudgeSettings
from realtime.files.outcome import Outcome
from realtime.files.tables import site_rows, summary_row
from realtime.files.writing import Answers, write_answers
from stemctx_core.reading.declared import Declared


@dataclass(frozen=True, repr=False)
class Findings:
    """What became of every image of some files. In a notebook it shows itself as a table.

    Attributes
    ----------
    outcomes
        One for each image, in the order of the files.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def judged(self) -> tuple[Outcome, ...]:
        """Images with a `result`."""
        return tuple(o for o in self.outcomes if o.judged)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """Images that could not be read or judged; `refusal` says why, with the fix."""
        return tuple(o for o in self.outcomes if not o.judged)

    def sites(self) -> list[dict[str, Any]]:
        """One row a lattice site: file, image and frame, then the columns of `FrameResult.rows`."""
        return [row for outcome in self.judged for row in site_rows(outcome)]

    def images(self) -> list[dict[str, Any]]:
        """One row an image: whether it was judged and why not, its context with sources, flags, densities."""
        return [summary_row(outcome) for outcome in self.outcomes]

    def densities(self) -> dict[str, list[Density]]:
        """Flags of all images on the area decided in them, by material, such as ``WSe2 with V``; see `Density`."""
        materials = dict.fromkeys(o.material for o in self.judged)
        return {
            material: pooled(d for o in self.judged if o.material == material and o.result for d in densities(o.result))
            for material in materials
        }  # fmt: skip

    def write(self, output: Path, report: Path | None = None, thumbnails: int = 200) -> list[Path]:
        """Write what `stemctx analyze` writes of a folder.

        Parameters
        ----------
        output
            Table of sites, ``.csv`` or ``.parquet``; the table of images goes beside it, as ``NAME_images``.
        report
            Page (HTML) to be opened, mailed or printed.
        thumbnails
            Flags of an image on the page, at most.

        Returns
        -------
        list
            What was written.

        Raises
        ------
        InputError
            Where there is no such folder, or it cannot be written to.
        """
        answers = Answers(Path(output), report=None if report is None else Path(report), thumbnails=thumbnails)
        answers.check([path for outcome in self.outcomes for path in outcome.files])
        return write_answers(answers, self.outcomes, several=True)

    def __repr__(self) -> str:
        return f"Findings({len(self.judged)} images judged, {len(self.refused)} not)"

    def _repr_html_(self) -> str:
        from realtime.files.report import image_table

        return image_table(self.outcomes)


def analyze_files(
    paths: Path | str | Iterable[Path | str],
    options: Declared | None = None,
    settings: JudgeSettings | None = None,
    *,
    recursive: bool = False,
    stack: Stack = Stack.EACH,
    progress: Progress | None = None,
) -> Findings:
    """Judge every image of files and folders, and keep all of it, pixels too.

    Of thousands of images, take them one by one from `analyze`.

    Parameters
    ----------
    paths
        A file, a folder, a pattern, or several.
    options
        What is declared of all of them; TOML files beside them and their own metadata fill it up.
    settings
        Model, engine or server, and the prior; the shipped model in this process where left out.
    recursive, stack, progress
        As of `analyze`.

    Raises
    ------
    InputError
        Where no file is meant, or the settings contradict each other. A file that cannot be read is an outcome.
    TransportError
        Where a server judges and does not answer.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    with Judge(settings) as judge:
        found = analyze(
            [Path(p) for p in named], options, judge, recursive=recursive, stack=stack, progress=progress
        )
        return Findings(tuple(found))
