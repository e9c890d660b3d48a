"""The images of a turn: which one a question is about, and the text in them."""
