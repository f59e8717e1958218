"""Speed of the pipeline compared with the conventional program, as ratios within one run."""
