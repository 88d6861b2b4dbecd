"""What an image shows at a site: lattice-registered patches, and what is measured on them.

Start with `patches`, then `features`.
"""
