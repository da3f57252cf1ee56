"""What a DAG run is doing, from Airflow's database and the results catalog: for the command line, pages and reports."""
