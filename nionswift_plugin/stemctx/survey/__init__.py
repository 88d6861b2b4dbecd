"""`stemctx survey`: autonomous acquisition in the simulated microscope.

`commands` runs the policy of a survey file; `benchmark` compares policies, `judge` knows the truth.
"""
