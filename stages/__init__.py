"""Entry points of the pipeline, one module a stage."""
