"""Trains the default model's projector heads and base LoRA (extra [train]). Never imported by the running app."""
