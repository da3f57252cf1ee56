"""Run the calibrations of a script on this machine, without Airflow: `CAF().run()`."""
