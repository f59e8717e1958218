"""The schema of metrics_policy.yaml: how much each metric may lose, and the meaning of files."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from src.core.errors import UserError
from src.revision.parsing import Strict, validated
from src.revision.pipeline import ProjectPath
from src.revision.revision import Revision

POLICY = "metrics_policy.yaml"


class Rule(Strict):
    """How much a metric may lose. A required metric can fail the report; any other only informs."""

    better: Literal["higher", "lower"]
    tolerated: Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?%$")] = Field(
        description="largest loss: a number, or a share of the old value such as 5%"
    )
    required: bool
    mcnemar: bool = Field(default=False, description="McNemar's test over the test images applies to this metric")
    since_reference: float | None = Field(default=None, ge=0, description="largest loss since the policy's reference")

    def loss(self, old: float, new: float) -> float:
        """How much worse the new value is; negative if it is better."""
        return old - new if self.better == "higher" else new - old

    def allowed_loss(self, old: float) -> float:
        """The largest tolerated loss from this old value, at least 0."""
        if isinstance(self.tolerated, str):
            return abs(old) * (float(self.tolerated.removesuffix("%")) / 100)  # Dividing first avoids an overflow.
        return self.tolerated

    def exceeds(self, old: float, new: float, allowed: float) -> bool:
        """Whether the loss is larger than allowed; an equal loss is not, up to the rounding of floats."""
        loss = self.loss(old, new)
        return loss > allowed and not math.isclose(loss, allowed, rel_tol=1e-9)


class Pictures(Strict):
    """A PNG with rows of square grey images: the examples of `wrong`, in that order."""

    file: ProjectPath
    side: int = Field(ge=1, le=512, description="width and height of one picture in pixels")
    columns: int = Field(ge=1, le=100)
    most: int = Field(default=1000, ge=1, le=10_000, description="pictures that the file holds at most")


Kind = Literal["accuracy", "accuracy_low", "accuracy_high", "precision", "recall", "f1"]


class Examples(Strict):
    """CSV files about the test examples, with the column names listed here."""

    wrong: ProjectPath | None = Field(
        default=None, description="index, actual, predicted: examples that the model gets wrong"
    )
    counts: ProjectPath | None = Field(
        default=None, description="actual, predicted, count: number of examples, for every pair"
    )
    classes: ProjectPath | None = Field(default=None, description="class, images, precision, recall, f1")
    pictures: Pictures | None = None
    metrics: dict[ProjectPath, dict[str, Kind]] = Field(
        default={}, description="what a metric is, by file and name, so that it follows from `counts`"
    )
    decimals: int = Field(default=6, ge=1, le=15, description="to which those metrics are rounded")
    class_decimals: int = Field(default=4, ge=1, le=15, description="to which the scores in `classes` are rounded")


class Curves(Strict):
    """A CSV file with a row per epoch, numbered in the column `epoch`."""

    file: ProjectPath
    columns: list[str] = Field(description="that must be there and are drawn")


class Policy(Strict):
    """Rules by metrics file, then by name of the metric, with dots between levels of a nested file.

    The rules' `since_reference` limits the losses since `reference`, a commit or tag. A missing key disables the checks
    that need it.
    """

    version: Literal[2] = 2
    metrics: dict[ProjectPath, dict[str, Rule]]
    reference: str | None = Field(default=None, min_length=1, description="tag or full commit hash")
    data: ProjectPath | None = Field(
        default=None, description="output, folder of outputs or tracked data that models are compared on"
    )
    scorer: list[ProjectPath] | None = Field(
        default=None, description="files, folders and params that decide what is measured; default: see `edits.scorer`"
    )
    unread: list[str] = Field(
        default=[], description="patterns of files that neither a stage nor what installs or runs stages reads"
    )
    examples: Examples = Examples()
    curves: Curves | None = None

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        bars = [name for (_, name), rule in self.rules.items() if rule.since_reference is not None]
        if bars and self.reference is None:
            raise ValueError(f"expected a reference, since {', '.join(bars)} has a bound on losses since it")
        return self

    @property
    def rules(self) -> dict[tuple[str, str], Rule]:
        """All rules by file and name."""
        return {(file, name): rule for file, rules in self.metrics.items() for name, rule in rules.items()}

    @property
    def required(self) -> dict[tuple[str, str], Rule]:
        """Rules of the required metrics."""
        return {place: rule for place, rule in self.rules.items() if rule.required}

    @property
    def accuracy(self) -> tuple[str, str] | None:
        """File and name of the accuracy, or None."""
        kinds = {(file, name): kind for file, names in self.examples.metrics.items() for name, kind in names.items()}
        return next((place for place, kind in kinds.items() if kind == "accuracy"), None)


def read_policy(revision: Revision) -> Policy:
    """Read the policy of a revision.

    Raises:
        UserError: If it is missing, malformed, or of another version.
    """
    found, where = revision.tree.parse(POLICY), f"{POLICY} of {revision.name}"
    if isinstance(found, dict) and (version := found.get("version", "none")) != 2:
        raise UserError(f"{where}: version: expected 2, got {version}; src/report/policy.py has its keys")
    return validated(Policy, found, where)
