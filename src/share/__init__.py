"""Shares results through a DVC remote: `make push`."""
