"""An OpenAI-compatible server over the assistant, for other programs of this machine (docs/serve.md)."""
