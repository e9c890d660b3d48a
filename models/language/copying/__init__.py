"""Answers that are copied from the text of a page: which tokens may come next, and which copy is the likeliest."""
