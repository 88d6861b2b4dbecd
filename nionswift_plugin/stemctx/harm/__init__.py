"""What live flagging costs the scan and the window: `stemctx benchmark swift`; begin with `benchmark`."""
