"""What may stand where: hosts, elements, columns, roles and species, and how often each is expected.

Start with `classes`: roles, and the candidates of a host.
"""
