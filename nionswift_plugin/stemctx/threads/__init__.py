"""Work off the window's thread, on it, and not too often."""
