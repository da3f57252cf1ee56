"""Carry out a strategy: put what it asks for to the processes of an algorithm, and keep the answers.

It works in a task and in a job alike, so it needs nothing installed and travels with jobs.
"""
