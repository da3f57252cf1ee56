"""Read events, collect objects run by run, merge them, and give them to algorithms."""
