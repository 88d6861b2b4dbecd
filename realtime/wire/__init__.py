"""What crosses the wire, and how: messages, their bytes and their bounds; `docs/wire.md` describes it."""
