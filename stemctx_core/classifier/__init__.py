"""The model: its bundle, the engine that runs it, and posteriors.

Start with `classifier`; `onnx_check` is what keeps a hostile file out.
"""
