"""The fetch stage: download MNIST or write the built-in digits."""
