"""All that knows of basf2: calibration scripts, their drop-in modules, steering files."""
