"""CURVE keys: `folder` makes, admits and revokes them, `admission` stands with them at a server's socket.

`certificates` reads them; `addresses` says which addresses may be used without any.
"""
