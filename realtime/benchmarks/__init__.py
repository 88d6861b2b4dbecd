"""How fast this machine is: frames beside the obvious alternative, the newest frame under load, hours of frames."""
