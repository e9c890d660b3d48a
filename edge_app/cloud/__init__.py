"""The cloud: any OpenAI-compatible endpoint, what may be sent there, and the record of what was."""
