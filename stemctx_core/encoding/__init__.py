"""Context and candidates as the numbers that the model takes, and what each candidate should look like."""
