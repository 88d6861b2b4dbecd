"""Frames and results kept while live, saved after a crash, and run through the live path again."""
