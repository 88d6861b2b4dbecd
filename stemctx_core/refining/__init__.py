"""A whole frame solved at once: slower than the live path, and nearer to what the frame holds.

Start with `thorough`.
"""
