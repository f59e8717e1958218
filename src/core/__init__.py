"""What every stage builds on: errors, files, and the data set on disk."""
