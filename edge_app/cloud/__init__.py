"""The cloud: an OpenAI-compatible endpoint, consent to send to it, and the record of what was sent."""
