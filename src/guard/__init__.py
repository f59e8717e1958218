"""Wraps a stage so that dvc.lock records what actually ran."""
