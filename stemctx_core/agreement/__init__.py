"""How far the model agrees with people, and people with each other: `stemctx agreement`.

Start with `report`; `ratings` lays labels out as tables, `measuring` puts intervals around the `figures`.
"""
