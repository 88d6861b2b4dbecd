"""The live side of stemctx: the wire, both its ends, engines, and the frame pipeline. Nothing here knows Nion Swift.

Nothing is imported here, so that the plug-in, which needs only `realtime.client`, does not load an engine.
"""
