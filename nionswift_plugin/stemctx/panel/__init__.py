"""The panel: `panel` holds its tabs; `live_tab` is the first of them, with its sections."""
