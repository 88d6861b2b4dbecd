"""From the sites of a frame to evidence, and from evidence to what is said: pass, flag, abstain."""
