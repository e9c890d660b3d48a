"""What an answer has to fit: fields that the user lists, and JSON Schemas."""
