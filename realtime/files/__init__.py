"""Micrographs in files, judged one by one or by the folder: `stemctx analyze`, and `analyze` from Python.

from realtime.files import Judge, analyze
from stemctx_core.reading.declared import Declared

with Judge() as judge:
    for outcome in analyze([Path("frames")], Declared(host="WSe2", candidates=("Ti",)), judge):
        print(outcome.label, outcome.refusal or outcome.result.flag_counts())
"""

from realtime.files.batch import analyze
from realtime.files.judging import Judge
from realtime.files.outcome import Outcome

__all__ = ["Judge", "Outcome", "analyze"]
