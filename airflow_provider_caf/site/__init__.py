"""What the site has set up in Airflow: folders, the catalog, the address of the page, metrics and messages."""
