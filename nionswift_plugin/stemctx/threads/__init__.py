"""Work off the window's thread, on it, and not too often: `background`, `ui_thread`, `throttle`; and Ctrl-C: `interrupts`."""
