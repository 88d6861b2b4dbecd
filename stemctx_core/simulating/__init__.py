"""The commands `stemctx simulate …`, and the pictures that one of them makes.

Start with `commands`.
"""
