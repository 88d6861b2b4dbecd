"""What crosses the wire, and how: begin with `messages`; `codec` lays them out as bytes, within `limits`.

The rest of the project sees all of it through `protocol`; `docs/wire.md` describes it.
"""
