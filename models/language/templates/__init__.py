"""A model's chat template: the text around the messages of a conversation."""
