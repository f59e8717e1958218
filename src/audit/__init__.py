"""Checks that dvc.lock is true: `python -m src.audit.verify` and `python -m src.audit.reproduce`."""
