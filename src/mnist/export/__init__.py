"""Exports the trained model to ONNX: `python -m src.mnist.export`."""
