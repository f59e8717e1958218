"""The evaluate stage: scores on the test set, and images of the errors."""
