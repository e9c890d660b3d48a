"""Decides which adapter answers a question, and where, and says why. Does not know how answers come about."""
