"""Flags drawn on the live image."""
