"""CURVE keys: certificates, the folder that says whom a server admits, and which addresses may be used without."""
