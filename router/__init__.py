"""Decides which adapter answers a question, on which place, and how sure the answer is."""
