"""A table from pages: `edge-app extract` asks the same of every page and writes a row for each."""
