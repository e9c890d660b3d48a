"""One turn: planned, run on this device or in the cloud, and saved."""
