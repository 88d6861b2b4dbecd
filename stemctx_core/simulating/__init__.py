"""The commands `stemctx simulate …`, and the gallery that one of them makes."""
