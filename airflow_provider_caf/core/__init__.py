"""The pure heart: no clock, no file, no process, nothing but the standard library."""
