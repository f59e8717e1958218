"""Is dvc.lock true? `python -m src.audit.verify` and `python -m src.audit.reproduce`."""
