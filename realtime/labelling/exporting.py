"""The labels of a book as files; behind `stemctx label export`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stemctx_core.errors import InputError
from stemctx_core.labelling.book import open_book
from stemctx_core.labelling.hand import agreed, hand_label
from stemctx_core.labelling.sheet import rows_of_book, write_sheet
from stemctx_core.whole_files import write_whole


def export_labels(book: Path, output: Path, annotator: str | None = None) -> str:
    """Write the answers that stand.

    Parameters
    ----------
    output
        ``.csv`` for a table of all of them, ``.jsonl`` for labels as `docs/labels.md` describes.
    annotator
        Whose labels go into the latter; those that more than half agree on where left out.

    Returns
    -------
    str
        What was written, in words.

    Raises
    ------
    InputError
        Another kind of file, or an annotator who is not in the book.
    """
    if output.suffix not in {".csv", ".jsonl"}:
        raise InputError(f"{output} is neither .csv (a table) nor .jsonl (labels for training). Choose one.")
    if output.suffix == ".csv" and annotator is not None:
        raise InputError("A table holds the answers of all annotators. Leave --annotator out.")
    with open_book(book) as opened:
        if output.suffix == ".csv":
            rows = rows_of_book(opened)
            write_sheet(output, rows)
            return f"wrote {len(rows)} answers to {output}"
        people = {a.name.casefold(): a.number for a in opened.annotators()}
        if annotator is not None and annotator.casefold() not in people:
            raise InputError(
                f"There is no annotator '{annotator}' in {book}; there are: {', '.join(people) or 'none'}."
            )
        number = None if annotator is None else people[annotator.casefold()]
        chosen = agreed(opened.standing(number))
        labels = [hand_label(*opened.site(site), label, when) for site, (label, when) in chosen.items()]
        lines = [msgspec.json.encode(label) + b"\n" for label in labels if label is not None]
        total = len({a.site for a in opened.standing(number)})
    write_whole(output, b"".join(lines))
    whose = "that more than half agree on" if annotator is None else f"of {annotator}"
    return f"wrote {len(lines)} labels {whose} to {output}; {total - len(lines)} sites are left out"
