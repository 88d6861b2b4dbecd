"""Labelled patches and frames as a pure function of a seed: cases, truth, rendering, and what is told of it.

Start with `patches` and `frames`; `recipe` and `shards` put many of them on disk.
"""
