"""Frames and results kept while live, saved after a crash, and run through the live path again.

Begin with `recordings`, what a file holds; `recorder` writes one, `recovery` and `replay` read it.
"""
