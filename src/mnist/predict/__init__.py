"""Uses the trained model: `python -m src.mnist.predict IMAGE...`."""
