from collections.abc import Mapping, Sequence

from src.noise.measurement import Measurement, measure_noise

FILE = "metrics/eval.json"


def measured(
    accuracies: Sequence[float], data: str = "abc.dir", params: Mapping[str, object] = {}, images: int = 1000
) -> Measurement:
    """A measurement of seeds that reached these accuracies."""
    runs = [
        {
            "seed": seed,
            "metrics": {FILE: {"test_acc": acc, "test_f1": acc, "test_loss": 4 * (1 - acc)}},
            "wrong": range(round((1 - acc) * images)),
        }
        for seed, acc in enumerate(accuracies)
    ]
    return measure_noise(data, params, "a machine", images, runs)
