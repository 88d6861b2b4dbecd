"""What the column library is measured with: supercells with frozen phonons, and in-lattice corrections.

Start with `reference` and `delta`.
"""
