"""Nion's microscope for scripts: one call that opens a session wherever a script runs."""
