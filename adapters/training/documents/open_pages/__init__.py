"""Draws pages whose labels, tables and sentences are made up anew, so that their words are not a closed list."""
