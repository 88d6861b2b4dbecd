"""Scripts that find defects and measure them.

`microscope` is what they need of a column, `session` what they act through; both keep to `limits`. What a session did
lies in `record`, a page of it comes from `report`, and `policies` are whole scripts, short enough to be copied.
"""
