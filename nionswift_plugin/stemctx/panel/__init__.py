"""The panel: its tabs and their sections."""
