"""`stemctx live`: the simulated microscope with live flags, without a window; begin with `run`."""
