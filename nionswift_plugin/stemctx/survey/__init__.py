"""`stemctx survey`: autonomous acquisition, and its benchmark."""
