"""Checks that the metrics and tables of the head, which overlap, describe the same predictions."""

from collections import Counter
from collections.abc import Iterator

from src.core.interval import wilson_interval
from src.report.change import Change
from src.report.finding import Finding, fail
from src.report.metrics import read_metric
from src.report.policy import Examples
from src.report.tables import Pair, read_classes, read_counts, read_mistakes
from src.revision.revision import Revision


def tables(change: Change) -> Iterator[Finding]:
    """Contradictions between the metrics and tables of the test set."""
    revision, examples = change.head, change.policy.examples
    if examples.counts is None:
        return
    counts = Counter(read_counts(revision, examples.counts))
    if not counts.total():
        yield fail("{} counts no examples", examples.counts)
        return
    if examples.wrong:
        yield from _mistakes(revision, examples.wrong, counts, examples.counts)
    by_class = _scores(counts)
    if examples.classes:
        yield from _classes(revision, examples.classes, by_class, examples)
    yield from _metrics(revision, counts, by_class, examples)


def _mistakes(revision: Revision, wrong: str, counts: Counter[Pair], path: str) -> Iterator[Finding]:
    mistakes = read_mistakes(revision, wrong)
    pairs = Counter((mistake.actual, mistake.predicted) for mistake in mistakes.values())
    confused = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    if pairs != confused:
        yield fail("{} ({} errors) and {} ({}) disagree", wrong, pairs.total(), path, confused.total())
    if any(index >= counts.total() for index in mistakes):
        yield fail("{} names examples beyond the {} that {} counts", wrong, counts.total(), path)


def _classes(
    revision: Revision, path: str, by_class: dict[str, tuple[float, ...]], examples: Examples
) -> Iterator[Finding]:
    classes = read_classes(revision, path)
    if classes.keys() != by_class.keys():
        yield fail("{} and {} do not have the same classes", path, examples.counts)
    for label in sorted(classes.keys() & by_class.keys()):
        found = classes[label]
        images, *scores = by_class[label]
        pairs = zip((found.precision, found.recall, found.f1), scores, strict=True)
        if found.images != images or any(abs(a - b) > _rounding(examples.class_decimals) for a, b in pairs):
            yield fail("{} contradicts {} in class {}", path, examples.counts, label)


def _metrics(
    revision: Revision, counts: Counter[Pair], by_class: dict[str, tuple[float, ...]], examples: Examples
) -> Iterator[Finding]:
    total = counts.total()
    right = sum(count for (actual, predicted), count in counts.items() if actual == predicted)
    _, *averages = (sum(column) / len(by_class) for column in zip(*by_class.values(), strict=True))
    kinds = ("accuracy", "accuracy_low", "accuracy_high", "precision", "recall", "f1")
    expected = dict(zip(kinds, (right / total, *wilson_interval(right, total), *averages), strict=True))
    for file, names in examples.metrics.items():
        for name, kind in names.items():
            reported = read_metric(revision, file, name)
            # The check `metrics` reports missing and non-numeric values.
            if isinstance(reported, float) and abs(reported - expected[kind]) > _rounding(examples.decimals):
                text = "{} has {} {}, but {} gives {}"
                yield fail(text, file, name, f"{reported:.8g}", examples.counts, f"{expected[kind]:.8g}")


def _rounding(decimals: int) -> float:
    """Half of the last digit, plus the error of summing a few floats."""
    return 0.51 * 10.0**-decimals


def _scores(counts: Counter[Pair]) -> dict[str, tuple[float, ...]]:
    """Number of test examples, precision, recall and F1 by class; 0 divided by 0 is 0."""
    images, taken = Counter[str](), Counter[str]()
    for (actual, predicted), count in counts.items():
        images[actual] += count
        taken[predicted] += count
    found = {}
    for label in {**images, **taken}:
        right, own, given = counts[label, label], images[label], taken[label]
        shares = ((right, given), (right, own), (2 * right, own + given))
        found[label] = (own, *(part / whole if whole else 0.0 for part, whole in shares))
    return found
