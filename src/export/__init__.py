"""Exports the trained model to ONNX: `python -m src.export`."""
