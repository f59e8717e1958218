"""Shared by check, train and evaluate: hyperparameters, network, split, device."""
