"""Pages a minute of `extract`, beside a loop that asks page by page, and beside llama.cpp with rapidocr."""
