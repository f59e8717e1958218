"""What check, train and evaluate share: hyperparameters, network, split, device."""
