"""The column library against the tiers above it: `stemctx simulate validate`."""
