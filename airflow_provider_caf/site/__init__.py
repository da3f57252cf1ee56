"""The settings of the site in Airflow: folders, the catalog, the address of the page, metrics and messages."""
