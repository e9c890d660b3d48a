"""Draws pictures that no adapter is made for: the negatives that image heads are fitted against."""
