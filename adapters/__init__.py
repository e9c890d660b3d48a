"""LoRA adapters on disk: which there are, and what is in them. Does not know which one a question needs."""
