"""Training an adapter from labelled images, on this machine. Needs the extra [train]; nothing else does."""
