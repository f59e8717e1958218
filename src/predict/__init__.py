"""Uses the trained model: `python -m src.predict IMAGE...`."""
