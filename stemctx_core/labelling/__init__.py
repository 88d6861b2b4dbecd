"""Labels that people give to sites: the book that keeps them, and the lines that an operator writes.

Start with `book`; `making` and `sampling` draw its sites, `hand_labels` is the operator's file.
"""
