"""Calibration scripts of the experiment: described in its environment, and made into definitions."""
