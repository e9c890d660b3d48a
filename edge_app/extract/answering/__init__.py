"""Where pages are answered: by the engine of this process, or by engines on a Ray cluster."""
