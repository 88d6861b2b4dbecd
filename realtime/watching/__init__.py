"""What a server says of itself while it runs: `telemetry` of stages and counters, `top` on a terminal, `json_logs`."""
