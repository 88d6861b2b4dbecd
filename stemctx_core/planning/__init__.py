"""Which dose and which condition tell candidates apart: `stemctx plan`.

Start with `planner`.
"""
