"""The server under the load of several clients."""
