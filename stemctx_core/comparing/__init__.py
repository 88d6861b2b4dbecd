"""How far a simulated frame is from a measured one, and what to change in the simulation to come nearer."""
