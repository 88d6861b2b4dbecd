"""Nion's microscope for scripts: `opening` is the one call that opens a session wherever a script runs.

`microscope` is what the session acts through, over the `beam`, an `abort` and `one_frame`.
"""
