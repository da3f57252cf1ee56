"""Reports: one DAG run as a file that can be kept, mailed and read anywhere, and two runs compared."""
