"""Training: patches streamed from the renderer, the net, calibration and export. The only home of PyTorch.

Start with `model`, then `loop`; `bundles` writes what is shipped.
"""
