"""What the new model does differently from the old one, digit by digit."""

from dataclasses import dataclass

from src.core.errors import UserError
from src.core.interval import wilson_interval
from src.noise.significance import mcnemar_p
from src.report.revision import Revision
from src.report.tables import ClassScores, Mistake, read_classes, read_confusion, read_mistakes


@dataclass(frozen=True)
class Behaviour:
    """Two models on the same test images.

    Attributes:
        images: Size of the test set.
        old_errors: Number of images that the old model gets wrong.
        new_errors: Number of images that the new model gets wrong.
        broken: Mistakes that only the new model makes, by index.
        fixed: Mistakes that only the old model makes, by index.
        p_value: Exact McNemar test of broken against fixed.
        confusion: Change in the number of mistakes by (actual, predicted), largest change first.
        f1: (old, new) by class.
    """

    images: int
    old_errors: int
    new_errors: int
    broken: list[Mistake]
    fixed: list[Mistake]
    p_value: float
    confusion: dict[tuple[int, int], int]
    f1: dict[int, tuple[float, float]]

    @property
    def old_interval(self) -> tuple[float, float]:
        """95% interval of the old model's accuracy, each end in [0, 1]."""
        return wilson_interval(self.images - self.old_errors, self.images)

    @property
    def new_interval(self) -> tuple[float, float]:
        """95% interval of the new model's accuracy, each end in [0, 1]."""
        return wilson_interval(self.images - self.new_errors, self.images)


def compare_behaviour(base: Revision, head: Revision) -> Behaviour:
    """Compare two revisions image by image.

    Raises:
        UserError: If their test images are not the same, or a table is missing or malformed.
    """
    if base.data is None or base.data != head.data:
        raise UserError("the data changed, so the two models were not scored on the same test images")
    old_classes, new_classes = read_classes(base), read_classes(head)
    if _images(old_classes) != _images(new_classes):
        raise UserError("the data is the same, but plots/per_class.csv has other numbers of images")
    images = sum(_images(new_classes).values())
    old, new = read_mistakes(base), read_mistakes(head)
    if images < 1 or any(not 0 <= index < images for index in {*old, *new}):
        raise UserError("plots/errors.csv names images beyond those that plots/per_class.csv counts")
    if any(old[index].actual != new[index].actual for index in old.keys() & new.keys()):
        raise UserError("the data is the same, but plots/errors.csv has other labels for it")
    broken = [new[index] for index in sorted(new.keys() - old.keys())]
    fixed = [old[index] for index in sorted(old.keys() - new.keys())]
    return Behaviour(
        images=images,
        old_errors=len(old),
        new_errors=len(new),
        broken=broken,
        fixed=fixed,
        p_value=mcnemar_p(len(broken), len(fixed)),
        confusion=_confusion_changes(read_confusion(base), read_confusion(head)),
        f1={label: (old_classes[label].f1, new_classes[label].f1) for label in sorted(new_classes)},
    )


def _confusion_changes(old: dict[tuple[int, int], int], new: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    changes = {pair: new.get(pair, 0) - old.get(pair, 0) for pair in {*old, *new} if pair[0] != pair[1]}
    changed = [(pair, change) for pair, change in changes.items() if change]
    return dict(sorted(changed, key=lambda item: (-abs(item[1]), item[0])))


def _images(classes: dict[int, ClassScores]) -> dict[int, int]:
    """Number of test images by class."""
    return {label: scores.images for label, scores in classes.items()}
