"""The service in Nion Swift's window: `control` starts and stops it, `feed` is what the tabs follow.

`panel_model` is all that the panel shows; `fields` and `editing` bring it to what `settings` remembers, and back.
"""
