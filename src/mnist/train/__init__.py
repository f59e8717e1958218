"""The train stage: data on the device, optimizer steps, checkpoints."""
