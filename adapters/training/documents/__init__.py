"""Draws pages of text with questions about them, to train and evaluate the adapter for documents with."""
