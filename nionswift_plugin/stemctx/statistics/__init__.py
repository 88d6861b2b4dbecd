"""What was flagged so far: counts, densities, distances and trends."""
