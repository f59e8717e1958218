"""The code to change for another problem: data, network, training, evaluation, and tools that use the trained model."""
