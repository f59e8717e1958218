"""Writes docs/model_card.md from the committed results: `python -m src.mnist.card`."""
