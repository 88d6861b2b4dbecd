"""The simulated microscope: Nion's scan device and STEM controller over a specimen whose every site is known."""
