"""Chooses the adapter and the place that answer a question, and computes how likely an answer is right."""
