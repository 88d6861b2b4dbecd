"""`stemctx doctor`: what live flagging needs, looked at piece by piece, each with what to do where it is missing.

Every topic is a module with a function `check` that gives findings and may be called alone. What can end or hang a
process (libraries of GPUs, Nion's loader) is its function `probe`, which runs in a child process. No module here
imports at its top anything but the standard library: the doctor has to speak where other packages are missing.

Inside Nion Swift, in *File > Python Console* or a script, this also asks the instrument that is really there::

    from nionswift_plugin.stemctx import doctor
    print(doctor.report())
"""

from __future__ import annotations


def report() -> str:
    """Examine this installation and the instrument of this process, in words."""
    from nionswift_plugin.stemctx.doctor.examination import examine, in_words

    return in_words(examine())
