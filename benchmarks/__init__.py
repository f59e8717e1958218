"""Speed of the pipeline against the conventional program, as ratios within one run."""
