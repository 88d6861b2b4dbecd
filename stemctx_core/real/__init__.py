"""Real micrographs: how far what is said of them agrees with people's labels, and what is refused: `stemctx real`.

Start with `measuring`; `data` says which frames there are.
"""
