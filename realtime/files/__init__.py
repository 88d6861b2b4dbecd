"""Micrographs in files, judged one by one or by the folder: `stemctx analyze`, and the same from Python.

from pathlib import Path

from realtime.files import Declared, analyze_files

found = analyze_files("session", Declared(host="WSe2", candidates=("Ti",)))
for seen in found.judged:
    print(seen.label, seen.result.flag_counts())
for left in found.refused:
    print(left.label, left.refusal)
found.write(Path("sites.csv"), report=Path("report.html"))

`analyze` gives the same one by one and keeps nothing: for thousands.
"""

from realtime.files.batch import Stack, analyze
from realtime.files.densities import Density
from realtime.files.findings import Findings, analyze_files
from realtime.files.judging import Judge, JudgeSettings
from realtime.files.outcome import Outcome
from stemctx_core.reading.declared import Declared, DetectorAngles

__all__ = [
    "Declared",
    "Density",
    "DetectorAngles",
    "Findings",
    "Judge",
    "JudgeSettings",
    "Outcome",
    "Stack",
    "analyze",
    "analyze_files",
]
