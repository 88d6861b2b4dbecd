"""Seams for scripts that act on results: what they need of a microscope, and which sites may be acted on."""
