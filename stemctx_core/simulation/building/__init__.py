"""The response library, from multislice runs to one file.

Start with `build`.
"""
