"""How much a metric differs between trainings that differ only in the seed, and what is more than that."""
