"""The results of a revision, each confirmed by dvc.lock and by the receipt of its stage."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, receipt_path
from src.noise.measurement import Measurement, find_measurement
from src.revision.pipeline import output_md5
from src.revision.receipts import Receipt, lock_differences
from src.revision.revision import Revision


@dataclass(frozen=True)
class Results:
    """Results of the stages of a revision.

    Attributes:
        outputs: Hash of every output except the receipts, by path, as in dvc.lock.
        receipts: Receipts by stage.
        metrics: Values of each metrics file by path, and by name with dots between levels.
        params: Content of each params file, by path.
    """

    outputs: dict[str, str]
    receipts: dict[str, Receipt]
    metrics: dict[str, dict[str, Any]]
    params: dict[str, Any]

    @classmethod
    def of(cls, revision: Revision) -> Self:
        """Read the results of a revision.

        Raises:
            UserError: If there are no results, or if they are stale or inconsistent.
        """
        locked = revision.pipeline.locked
        if not locked:
            raise UserError(f"dvc.lock of {revision.name}: is missing, so there are no results; run `dvc repro`")
        for problem in contradictions(revision):
            raise UserError(problem)
        for mismatch in revision.edited:
            raise UserError(f"{mismatch.stage}: {mismatch.subject} {mismatch.problem}; run `dvc repro`")
        own = set(map(receipt_path, locked))
        return cls(
            outputs={path: oid for stage in locked.values() for path, oid in stage.outs.items() if path not in own},
            receipts={stage: found for stage, found in revision.receipts.items() if isinstance(found, Receipt)},
            metrics={path: values for path, values in revision.metrics.items() if isinstance(values, dict)},
            params=revision.params,
        )

    @property
    def portable(self) -> set[str]:
        """Paths of the outputs that do not depend on the machine."""
        return {path for receipt in self.receipts.values() if not receipt.machine for path in receipt.outs}

    @property
    def passed_on(self) -> set[str]:
        """Paths of the other outputs that a later stage reads, such as a model."""
        written = {path for receipt in self.receipts.values() for path in receipt.outs}
        return {path for receipt in self.receipts.values() for path in receipt.deps if path in written} - self.portable

    @property
    def made_with(self) -> dict[str, Any]:
        """Versions and machine of every stage by `stage: name`."""
        return {
            f"{stage}: {name}": value
            for stage, receipt in self.receipts.items()
            for name, value in {**receipt.versions, **receipt.machine}.items()
        }

    def measurement(self, known: list[Measurement], data: str | None) -> Measurement | None:
        """Find the measured seed noise of this recipe and the data at this path; None if it was not measured."""
        return find_measurement(known, output_md5(self.outputs, data or ""), self.params.get(PARAMS_FILE, {}))


def contradictions(revision: Revision, ignored: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
    """Yield where code, params, data or receipts contradict dvc.lock, each with its repair.

    Args:
        revision: The revision to examine.
        ignored: Whether an input that is missing in git exists nevertheless.
    """
    for mismatch in revision.stale:
        if not (mismatch.problem == "is missing" and ignored(mismatch.subject)):
            yield f"{mismatch.stage}: {mismatch.subject} {mismatch.problem}; {mismatch.repair}"
    for stage, receipt in revision.receipts.items():
        repair = f"run `dvc repro --single-item --force {stage}`"
        if isinstance(receipt, UserError):
            yield f"{receipt}; {repair}"
        elif stage in revision.pipeline.locked:
            wrong = lock_differences(receipt, revision.pipeline.locked[stage])
            if wrong:
                yield f"dvc.lock contradicts {receipt_path(stage)} in {', '.join(wrong)}; {repair}"
