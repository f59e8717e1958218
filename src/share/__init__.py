"""Shares results through a DVC remote."""
