"""The calibration framework's modules, by the names that scripts import."""
