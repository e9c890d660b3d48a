"""Continual learning: domains learnt one after another, and what is forgotten."""
