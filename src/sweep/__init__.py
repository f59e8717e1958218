"""Many runs of the pipeline as DVC experiments: sweeps, seeds, and their results."""
