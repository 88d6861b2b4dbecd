"""The Bayes reference: the exact posterior over the candidates of a patch, against which classifiers are measured.

Start with `reference`, then `model`, the patch as the observer takes it to arise; all else is compiled.
"""
