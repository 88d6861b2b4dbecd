"""How good the classifier is, over 576 cases and beyond them: `stemctx evaluate`.

Start with `run`; `scenes` are drawn, `judging` judges them in `stages`, `report` gathers the figures, `page` shows them.
"""
