"""What a frame says of its own context: offered, never taken silently: `stemctx estimate`.

Start with `offers`; `host_lattice` measures, `rehearsal` corrects by simulated frames.
"""
