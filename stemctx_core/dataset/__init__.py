"""Labelled patches and frames as a pure function of a seed: cases, truth, rendering, and what is told of it."""
