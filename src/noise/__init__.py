"""How much a metric varies between trainings that differ only in the seed, and which changes exceed that."""
