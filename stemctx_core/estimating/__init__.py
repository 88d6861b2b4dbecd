"""What a frame says of its own context, from the columns of the host alone: offered, never taken silently."""
