"""The simulated microscope: Nion's scan device and STEM controller over a specimen whose every site is known.

Begin with `specimen`, what lies there, and `headless`, the whole microscope without a window. `scoring` compares flags
with the truth.
"""
