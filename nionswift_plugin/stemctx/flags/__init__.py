"""The list of flags, and what can be done at one."""
