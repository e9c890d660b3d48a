"""Answers that fit a schema: how they are asked for, and the values that are read from them."""
