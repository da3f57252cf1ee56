"""Run jobs on a batch system: submit what is missing, once; poll; judge; cancel; bring files there and back."""
