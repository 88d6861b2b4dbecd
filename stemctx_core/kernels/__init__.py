"""Compiled loops and robust figures that several rooms compute with.

`compiled` says where numba keeps what it compiled.
"""
