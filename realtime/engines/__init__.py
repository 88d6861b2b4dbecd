"""Engines beyond the CPU one of the core, and the choice between them."""
