"""The steps of a calibration, one module each, as functions of paths and records.

An operator runs one of them and adds what Airflow has: retries, XCom, task state, assets. Nothing here imports
Airflow.
"""
