"""The readable report of a record: `page` writes it, from what `data` and `decided` gather."""
