"""One look: colours, number formats, pictures and the pieces of reports.

Start with `colours` and `formats`.
"""
