"""Many runs of the pipeline as DVC experiments: sweeps, seeds, and what they taught."""
