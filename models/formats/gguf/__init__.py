"""GGUF files: headers, blocks of quantised weights, the cache of metadata, and writing."""
