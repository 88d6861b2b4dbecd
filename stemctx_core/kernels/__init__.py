"""Compiled loops and robust figures that several rooms compute with."""
