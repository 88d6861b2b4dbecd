"""The science of stemctx: from a frame and its imaging context to a posterior at every lattice site.

Nothing here knows of ZeroMQ, of Nion Swift or of a window. PyTorch is imported only in
`stemctx_core.training`, abTEM only in `stemctx_core.simulation.multislice`.

Conventions used everywhere: arrays and tuples are in y, x order; a position in pixels is an array index,
so that the centre of the first pixel is (0, 0); units stand in the name.
"""
