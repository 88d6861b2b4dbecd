"""Tables of what was found: a row a site, and a row an image; CSV or Parquet by the suffix of the file."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol

from realtime.files.densities import decided_cm2, densities
from realtime.files.outcome import Outcome
from stemctx_core.context import Known
from stemctx_core.errors import InputError
from stemctx_core.results import CSV_COLUMNS, SUBLATTICES

#: What stands before the columns of a result.
PLACE_COLUMNS: Final = ("file", "image", "frame")
_TEXT_COLUMNS: Final = ("sublattice", "role", "species", "decision", "reason")


class _Writer(Protocol):
    def write(self, rows: list[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


class SiteTableFile:
    """A table of sites that grows with every image and appears whole or not at all; to be used in a ``with``.

    Parameters
    ----------
    path
        ``.csv`` or ``.parquet``.
    places
        Whether file, image and frame stand before each site.
    """

    def __init__(self, path: Path, places: bool = True) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._places = places
        columns = (*PLACE_COLUMNS, *CSV_COLUMNS) if places else CSV_COLUMNS
        self._writer: _Writer = _Parquet(self._part, columns) if is_parquet(path) else _Csv(self._part, columns)

    def __enter__(self) -> SiteTableFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._part.unlink(missing_ok=True)

    def add(self, outcome: Outcome) -> None:
        """Add the sites of an image; one that was refused has none."""
        rows = site_rows(outcome, self._places)
        if rows:
            self._writer.write(rows)

    def finish(self) -> None:
        """Give the file its name."""
        self._writer.close()
        os.replace(self._part, self._path)


class _Csv:
    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns)
        self._writer.writeheader()

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts = {*_TEXT_COLUMNS, "file", "image"}
        kinds = {c: pa.string() if c in texts else pa.float64() for c in columns} | {"frame": pa.int32()}
        self._schema = pa.schema([(c, kinds[c]) for c in columns])
        self._table = pa.Table
        self._writer = pq.ParquetWriter(path, self._schema)

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._writer.write_table(self._table.from_pylist(rows, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def is_parquet(path: Path) -> bool:
    """Whether a table is Parquet by its name."""
    return path.suffix.lower() == ".parquet"


def check_suffix(path: Path) -> None:
    """See that a table can be written by its name.

    Raises
    ------
    InputError
        For Parquet without pyarrow. Any other suffix is CSV.
    """
    if is_parquet(path):
        try:
            import pyarrow.parquet  # noqa: F401
        except ModuleNotFoundError:
            raise InputError(
                "A Parquet table needs the Python package 'pyarrow'. Run: pip install \"stemctx[files]\"; or name the "
                "table .csv."
            ) from None


def site_rows(outcome: Outcome, places: bool = True) -> list[dict[str, Any]]:
    """Give the sites of an image, each with where it is; none of one that was refused."""
    if outcome.result is None or not outcome.judged:
        return []
    place = _place(outcome) if places else {}
    return [{**place, **row} for row in outcome.result.rows()]


def _place(outcome: Outcome) -> dict[str, Any]:
    return {
        "file": " + ".join(map(str, outcome.files)),
        "image": outcome.image_name,
        "frame": outcome.frame,
    }


def summary_row(outcome: Outcome) -> dict[str, Any]:
    """What is said of an image without its sites: whether it was judged and why not, its context, densities."""
    result = outcome.result
    row: dict[str, Any] = {
        **_place(outcome),
        "judged": outcome.judged,
        "refusal_code": outcome.code,
        "refusal": outcome.refusal,
        "notes": " ".join((*outcome.notes, *(result.warnings if result else ()))),
        "host": result.context.host if result else None,
    }
    for name, value in result.context.quantities() if result else ():
        row[name] = value.value if isinstance(value, Known) else None
        row[f"{name}_source"] = f"{value.source}: {value.detail}" if isinstance(value, Known) else value.reason
    if result is None or not outcome.judged:
        return row
    entropy = result.sites.entropy_nats
    row |= {
        "sites": len(result.sites),
        "flags": sum(result.flag_counts().values()),
        "undecided": len(result.undecided()),
        "decided_cm2": decided_cm2(result),
        "frames_accumulated": result.frames_accumulated,
        "model": result.model,
    }
    for code, sublattice in enumerate(SUBLATTICES):
        here = entropy[result.sites.sublattice == code]
        row[f"mean_entropy_{sublattice.value}_nats"] = float(here.mean()) if len(here) else None
    if result.calibration is not None:
        row |= {
            "lattice_pixel_size_angstrom": result.calibration.pixel_size_angstrom,
            "noise_dose_e_per_angstrom2": result.calibration.dose_e_per_angstrom2,
            "ratio_measured": result.calibration.ratio_measured,
            "ratio_expected": result.calibration.ratio_expected,
        }
    for density in densities(result):
        row |= {
            f"{density.species}_flags": density.flags,
            f"{density.species}_per_cm2": density.per_cm2,
            f"{density.species}_low_per_cm2": density.low_per_cm2,
            f"{density.species}_high_per_cm2": density.high_per_cm2,
        }
    return row


def write_summary(path: Path, summaries: Sequence[dict[str, Any]]) -> None:
    """Write one row an image; the file appears whole or not at all.

    Columns of species are those of all images together; they are empty where an image was not looked at for it.
    """
    columns = list(dict.fromkeys(name for row in summaries for name in row)) or list(PLACE_COLUMNS)
    rows = [{name: row.get(name) for name in columns} for row in summaries]
    part = path.with_name(path.name + ".part")
    try:
        if is_parquet(path):
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(rows), part)
        else:
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
