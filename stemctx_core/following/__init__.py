"""Several frames of one field, and frames that are still being scanned.

Start with `field_memory`.
"""
