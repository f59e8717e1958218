"""Do the results of one revision describe the same predictions? Metrics and tables repeat each other."""

from collections import Counter
from collections.abc import Iterator

from src.core.interval import wilson_interval
from src.report.finding import Finding, fail
from src.report.metrics import read_metric
from src.report.policy import Examples
from src.report.tables import ClassScores, Mistake, Pair, read_classes, read_counts, read_mistakes
from src.revision.revision import Revision


def disagreements(revision: Revision, examples: Examples) -> Iterator[Finding]:
    """Where the metrics and tables of the test set contradict each other.

    Raises:
        UserError: If a table is missing or malformed.
    """
    if examples.counts is None:
        return
    counts = Counter(read_counts(revision, examples.counts))
    if examples.wrong:
        mistakes = read_mistakes(revision, examples.wrong)
        yield from _mistakes_against_counts(mistakes, counts, examples.wrong, examples.counts)
    if examples.classes:
        yield from _classes_against_counts(read_classes(revision, examples.classes), counts, examples)
    yield from _metrics_against_counts(revision, counts, examples)


def _mistakes_against_counts(
    mistakes: dict[int, Mistake], counts: Counter[Pair], wrong: str, path: str
) -> Iterator[Finding]:
    pairs = Counter((mistake.actual, mistake.predicted) for mistake in mistakes.values())
    off_diagonal = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1] and count})
    if pairs != off_diagonal:
        yield fail("{} ({} errors) and {} ({}) disagree", wrong, pairs.total(), path, off_diagonal.total())
    if any(index >= counts.total() for index in mistakes):
        yield fail("{} names examples beyond the {} that {} counts", wrong, counts.total(), path)


def _classes_against_counts(
    classes: dict[str, ClassScores], counts: Counter[Pair], examples: Examples
) -> Iterator[Finding]:
    if {label for pair in counts for label in pair} != classes.keys():
        yield fail("{} and {} do not have the same classes", examples.classes, examples.counts)
    for label, scores in classes.items():
        expected = _scores(counts, label)
        off = [abs(a - b) > _rounding(examples.class_decimals) for a, b in zip(scores[1:], expected[1:], strict=True)]
        if scores.images != expected.images or any(off):
            yield fail("{} contradicts {} in class {}", examples.classes, examples.counts, label)


def _metrics_against_counts(revision: Revision, counts: Counter[Pair], examples: Examples) -> Iterator[Finding]:
    total = counts.total()
    if not total:
        yield fail("{} counts no examples", examples.counts)
        return
    right = sum(count for (actual, predicted), count in counts.items() if actual == predicted)
    labels = sorted({label for pair in counts for label in pair})
    by_class = [_scores(counts, label)[1:] for label in labels]
    precision, recall, f1 = (sum(column) / len(labels) for column in zip(*by_class, strict=True))
    low, high = wilson_interval(right, total)
    expected = {
        "accuracy": right / total,
        "accuracy_low": low,
        "accuracy_high": high,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    for file, names in examples.metrics.items():
        for name, kind in names.items():
            reported = read_metric(revision, file, name).number
            # The check of metrics judges what is missing or not a number.
            if reported is not None and abs(reported - expected[kind]) > _rounding(examples.decimals):
                text = "{} has {} {}, but {} gives {}"
                yield fail(text, file, name, f"{reported:.8g}", examples.counts, f"{expected[kind]:.8g}")


def _rounding(decimals: int) -> float:
    """Half of the last written digit, plus the error of summing a few floats."""
    return 0.51 * 10.0**-decimals


def _scores(counts: Counter[Pair], label: str) -> ClassScores:
    """Scores of a class; 0 divided by 0 is 0."""
    right = counts[label, label]
    images = sum(count for (actual, _), count in counts.items() if actual == label)
    taken = sum(count for (_, predicted), count in counts.items() if predicted == label)
    precision, recall = right / taken if taken else 0.0, right / images if images else 0.0
    return ClassScores(images, precision, recall, 2 * right / (images + taken) if images + taken else 0.0)
