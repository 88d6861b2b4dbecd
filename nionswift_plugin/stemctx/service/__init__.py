"""Live flagging without a window: `live_service` joins the `tap` on the scan, the client of a server, and who listens.

`ledger` knows which results may still be shown, `passes` and `shown` which flags of them are on the screen.
"""
