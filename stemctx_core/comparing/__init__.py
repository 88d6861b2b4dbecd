"""How far a simulated frame is from a measured one, and what to change to come nearer: `stemctx compare`.

Start with `comparison`; `gap` measures, `fitting` moves the `knobs`.
"""
