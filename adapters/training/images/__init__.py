"""Images as input of a training: what the compiled engine sees in them, computed once."""
