"""A subjob inside a job: run it, watch it, and say how it ended."""
