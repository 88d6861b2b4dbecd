"""How far the model agrees with people, and people with each other."""
