"""The files that a table is written to."""
