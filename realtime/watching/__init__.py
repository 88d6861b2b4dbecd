"""What a server says of itself while it runs: stages, counters, logs, metrics."""
