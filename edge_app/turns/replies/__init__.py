"""Replies that the app gives without the language model: about itself, in another language, from text that was read."""
