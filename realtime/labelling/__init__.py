"""The page on which people label sites, served on this machine only.

`app` answers it behind `guard`, `turns` says what is next; `making` fills a book with sites, `exporting` writes its
labels for other programs.
"""
