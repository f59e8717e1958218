"""What one changes for another problem: data, network, training, evaluation, and the life of the model afterwards."""
