"""Do the results of one revision describe the same predictions? Metrics and tables repeat each other."""

from collections import Counter
from collections.abc import Iterator

from src.core.interval import wilson_interval
from src.report.document import Sentence
from src.report.metrics import read_metric
from src.report.revision import Revision
from src.report.tables import ClassScores, read_classes, read_confusion, read_history, read_mistakes

METRICS = "metrics/eval.json"
# Half of the last written digit, plus the error of summing ten floats.
METRIC_ROUNDING = 0.51e-6
CLASS_ROUNDING = 0.51e-4
HISTORY_COLUMNS = ("loss", "acc", "f1", "val_loss", "val_acc", "val_f1")


def contradictions(revision: Revision) -> list[Sentence]:
    """Where metrics/eval.json and the three tables of the test set contradict each other.

    Raises:
        UserError: If a table is missing or malformed, including the history.
    """
    read_history(revision, HISTORY_COLUMNS)
    mistakes, classes = read_mistakes(revision), read_classes(revision)
    counts = Counter(read_confusion(revision))
    return [
        *_against_confusion(Counter((m.actual, m.predicted) for m in mistakes.values()), counts),
        *_classes_against_confusion(classes, counts),
        *_indices(list(mistakes), sum(counts.values())),
        *_metrics_against_confusion(revision, counts),
    ]


def _against_confusion(pairs: Counter[tuple[int, int]], counts: Counter[tuple[int, int]]) -> Iterator[Sentence]:
    off_diagonal = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1] and count})
    if pairs != off_diagonal:
        yield [
            f"plots/errors.csv ({pairs.total():,} errors) and plots/confusion.csv ({off_diagonal.total():,}) disagree"
        ]


def _classes_against_confusion(classes: dict[int, ClassScores], counts: Counter[tuple[int, int]]) -> Iterator[Sentence]:
    labels = {label for pair in counts for label in pair}
    if labels != classes.keys():
        yield ["plots/per_class.csv and plots/confusion.csv do not have the same classes"]
    for label, scores in classes.items():
        expected = _scores(counts, label)
        close = all(abs(a - b) <= CLASS_ROUNDING for a, b in zip(scores[1:], expected[1:], strict=True))
        if scores.images != expected.images or not close:
            yield [f"plots/per_class.csv contradicts plots/confusion.csv in class {label}"]


def _indices(indices: list[int], images: int) -> Iterator[Sentence]:
    if any(index >= images for index in indices):
        yield [f"plots/errors.csv names images beyond the {images:,} that plots/confusion.csv counts"]


def _metrics_against_confusion(revision: Revision, counts: Counter[tuple[int, int]]) -> Iterator[Sentence]:
    total = counts.total()
    if not total:
        yield ["plots/confusion.csv counts no images"]
        return
    right = sum(count for (actual, predicted), count in counts.items() if actual == predicted)
    labels = sorted({label for pair in counts for label in pair})
    by_class = [_scores(counts, label)[1:] for label in labels]
    means = [sum(column) / len(labels) for column in zip(*by_class, strict=True)]
    low, high = wilson_interval(right, total)
    expected = {
        "test_acc": right / total,
        "test_acc_low": low,
        "test_acc_high": high,
        **dict(zip(("test_precision", "test_recall", "test_f1"), means, strict=True)),
    }
    for name, value in expected.items():
        reported = read_metric(revision, METRICS, name).number
        # `compare_metrics` judges what is missing or not a number.
        if reported is not None and abs(reported - value) > METRIC_ROUNDING:
            yield [f"{METRICS} has {name} {reported:.6g}, but plots/confusion.csv gives {value:.6f}"]


def _scores(counts: Counter[tuple[int, int]], label: int) -> ClassScores:
    """Scores of a class; 0 divided by 0 is 0."""
    right = counts[label, label]
    images = sum(count for (actual, _), count in counts.items() if actual == label)
    taken = sum(count for (_, predicted), count in counts.items() if predicted == label)
    precision, recall = right / taken if taken else 0.0, right / images if images else 0.0
    return ClassScores(images, precision, recall, 2 * right / (images + taken) if images + taken else 0.0)
