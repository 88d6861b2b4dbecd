"""What a frame says of itself: gain, background, source, dose, scatter, and whether it is of the declared host.

Start with `calibrate`.
"""
