"""Tables that the science rests on, each with its source."""
