"""Scripts that find defects and measure them: what they need of a microscope, and a session that keeps to limits."""
