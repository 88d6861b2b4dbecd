"""The panel: `panel` holds its tabs, `live_tab` the first of them with its sections; all rows come from `layout`."""
