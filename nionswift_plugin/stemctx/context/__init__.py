"""What the instrument and a frame say of how it is taken, each value with its source: begin with `context_reader`."""
