"""The model: its bundle, the engine that runs it, and posteriors."""
