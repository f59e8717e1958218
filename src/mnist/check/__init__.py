"""What stage check knows about this pipeline: its data sets and what a run needs."""
