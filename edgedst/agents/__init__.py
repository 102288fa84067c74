"""The algorithms, each in its paper's order."""
