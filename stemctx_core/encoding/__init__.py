"""Context and candidates as the numbers that the model takes, and what each candidate should look like.

Start with `prediction`, then `encode`; `knowledge` says what of the optics is missing.
"""
