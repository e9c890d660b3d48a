"""`make torture`: kills at random moments, damaged inputs, and hours of load. Resumable, with a seed for each run."""
