"""What stands around a stage so that dvc.lock records what really ran."""
