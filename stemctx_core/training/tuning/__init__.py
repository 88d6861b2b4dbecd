"""A shipped model tuned on labelled patches of a real instrument: `stemctx tune`.

Start with `tune`; `rungs` are what may move.
"""
