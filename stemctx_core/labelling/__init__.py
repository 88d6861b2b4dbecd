"""Labels that several people give to the same sites, none of them knowing what the model or another person said."""
