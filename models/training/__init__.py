"""Trains the default model's projector heads and base LoRA (extra [train]); never imported by the app."""
