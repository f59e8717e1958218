"""The evaluate stage: scores on the test set, and pictures of the errors."""
