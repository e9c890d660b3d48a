"""What the chat chooses for its questions: the model, the adapter, the mode, and options of one chat."""
