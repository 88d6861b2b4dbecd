"""The page on which people label sites, served on this machine only."""
