"""Trains the question encoder to tell whether a question is in the scope of an adapter, and places its borders."""
