"""Reports what a change does to the metrics, for the reviewer of a pull request: `python -m src.report BASE`."""
