"""The list of flags, and what can be done at one.

Begin with `flag_list`, the tab; `flag_tasks` does what is clicked.
"""
