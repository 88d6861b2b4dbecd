"""Engines beyond the CPU one of the core, and the choice between them: begin with `select`, which says why it chose."""
