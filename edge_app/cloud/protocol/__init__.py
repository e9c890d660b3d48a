"""What endpoints send and accept: the bytes of a response, the pieces of an answer, and their dialects of requests."""
