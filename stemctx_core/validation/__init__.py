"""The column library against the tiers above it: `stemctx simulate validate`.

Start with `against_reference`.
"""
