"""From the sites of a frame to evidence, and from evidence to what is said: pass, flag, abstain.

Start with `frame_evidence`, then `verdict`; `stemctx_core.analysis` joins them.
"""
