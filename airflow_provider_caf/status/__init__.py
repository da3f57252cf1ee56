"""The state of a DAG run, from Airflow's database and the results catalog: for the command line, pages and reports."""
