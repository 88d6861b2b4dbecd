"""Flags drawn on the live image.

`markers` says what is drawn, `drawing` draws it, `composite` puts it on the displays.
"""
