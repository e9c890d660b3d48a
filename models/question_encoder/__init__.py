"""Sentence vectors of questions, and whether a question asks for one of a list of declared tasks."""
