"""The part of stage check that is specific to this pipeline: the data sets' sizes and the resources a run needs."""
