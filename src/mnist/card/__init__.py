"""Writes docs/model_card.md from the results in the working tree: `make card`."""
