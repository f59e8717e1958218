"""The schema of metrics_policy.yaml: what a change may do to each metric, and which files say what."""

import math
import re
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from src.revision.parsing import parse, validated

POLICY = "metrics_policy.yaml"
VERSION = 2
SHORT_HASH = re.compile(r"[0-9a-f]{4,39}")
# Where the first version of the report, which had no keys for them, looked for these files.
FIRST_VERSION = {
    "data": "data/MNIST",
    "examples": {
        "wrong": "plots/errors.csv",
        "counts": "plots/confusion.csv",
        "classes": "plots/per_class.csv",
        "pictures": {"file": "plots/error_tiles.png", "side": 28, "columns": 20, "most": 1000},
        "metrics": {
            "metrics/eval.json": {
                "test_acc": "accuracy",
                "test_acc_low": "accuracy_low",
                "test_acc_high": "accuracy_high",
                "test_precision": "precision",
                "test_recall": "recall",
                "test_f1": "f1",
            }
        },
    },
    "curves": {"file": "plots/history.csv", "columns": ["loss", "val_loss", "acc", "val_acc", "f1", "val_f1"]},
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Rule(_Strict):
    """How much one metric may lose. A metric that is required can fail the report; any other only informs."""

    better: Literal["higher", "lower"]
    tolerated: float | str = Field(description="largest loss: a number, or a share of the old value such as 5%")
    required: bool = Field(validation_alias=AliasChoices("required", "gates"))
    mcnemar: bool = Field(default=False, description="McNemar's test over the test images applies to this metric")
    since_reference: float | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("since_reference", "accumulated"),
        description="largest loss since the policy's reference",
    )

    @field_validator("tolerated")
    @classmethod
    def _is_amount(cls, value: float | str) -> float | str:
        number = value if isinstance(value, float) else _share(value)
        if number is None or not 0 <= number < math.inf:
            raise ValueError('must be a number of at least 0, or a share of the old value such as "5%"')
        return value

    def loss(self, old: float, new: float) -> float:
        """How much worse the new value is; negative where it is better."""
        return old - new if self.better == "higher" else new - old

    def allowed_loss(self, old: float) -> float:
        """The largest loss from this old value that the rule tolerates, at least 0."""
        return self.tolerated if isinstance(self.tolerated, float) else abs(old) * (_share(self.tolerated) or 0.0)

    def exceeds(self, old: float, new: float, allowed: float) -> bool:
        """Whether the loss is larger than allowed; an equal loss is not, up to the rounding of floats."""
        loss = self.loss(old, new)
        return loss > allowed and not math.isclose(loss, allowed, rel_tol=1e-9)


class Pictures(_Strict):
    """A PNG of square grey pictures in rows: the examples of `wrong`, in that order."""

    file: str
    side: int = Field(ge=1, le=512, description="width and height of one picture in pixels")
    columns: int = Field(ge=1, le=100)
    most: int = Field(default=1000, ge=1, le=10_000, description="pictures that the file holds at most")


class Examples(_Strict):
    """CSV files about the test examples; the columns have the names given here."""

    wrong: str | None = Field(default=None, description="index, actual, predicted: examples that the model gets wrong")
    counts: str | None = Field(default=None, description="actual, predicted, count: number of examples, for every pair")
    classes: str | None = Field(default=None, description="class, images, precision, recall, f1")
    pictures: Pictures | None = None
    metrics: dict[
        str,
        dict[str, Literal["accuracy", "accuracy_low", "accuracy_high", "precision", "recall", "f1"]],
    ] = Field(default={}, description="what a metric is, by file and name, so that it follows from `counts`")
    decimals: int = Field(default=6, ge=1, le=15, description="to which those metrics are rounded")
    class_decimals: int = Field(default=4, ge=1, le=15, description="to which the scores in `classes` are rounded")


class Curves(_Strict):
    """A CSV file with a row for each epoch; the column `epoch` numbers them."""

    file: str
    columns: list[str] = Field(description="that must be there; each NAME with a val_NAME is drawn")


class Policy(_Strict):
    """Rules by metrics file, then by the metric's name, with dots between the levels of a nested file.

    The rules' `since_reference` bounds the losses since `reference`, a commit or tag. A key that is absent leaves the
    checks out that need it.
    """

    version: int = Field(default=1, ge=1, le=VERSION)
    metrics: dict[str, dict[str, Rule]]
    reference: str | None = Field(default=None, min_length=1)
    data: str | None = Field(
        default=None, description="output, folder of outputs or tracked data that models are compared on"
    )
    scorer: list[str] | None = Field(
        default=None, description="files and folders that decide what is measured; by default what dvc.yaml implies"
    )
    examples: Examples = Examples()
    curves: Curves | None = None

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        bars = [name for _, name in self.bounded]
        if bars and self.reference is None:
            raise ValueError(f"expected a reference, since {', '.join(bars)} has a bound on losses since it")
        return self

    @property
    def accuracy(self) -> tuple[str, str] | None:
        """File and name of the metric that is the accuracy, or None."""
        found = [
            (f, name)
            for f, names in self.examples.metrics.items()
            for name, kind in names.items()
            if kind == "accuracy"
        ]
        return found[0] if found else None

    @property
    def bounded(self) -> dict[tuple[str, str], Rule]:
        """Rules with a bound on losses since the reference, by file and name."""
        return {place: rule for place, rule in self._rules.items() if rule.since_reference is not None}

    def rule(self, file: str, name: str) -> Rule | None:
        """The rule of a metric, or None if it has none and only informs."""
        return self.metrics.get(file, {}).get(name)

    @property
    def required(self) -> dict[tuple[str, str], Rule]:
        """Rules of the metrics that are required, by file and name."""
        return {place: rule for place, rule in self._rules.items() if rule.required}

    @property
    def _rules(self) -> dict[tuple[str, str], Rule]:
        return {(file, name): rule for file, rules in self.metrics.items() for name, rule in rules.items()}


def parse_policy(text: str, where: str) -> Policy:
    """Read and check a policy, also one of an older version.

    Args:
        text: Content of metrics_policy.yaml.
        where: How to name it in an error.

    Raises:
        UserError: Naming the problems.
    """
    found = parse(text.encode(), POLICY, where)
    if isinstance(found, dict) and "version" not in found:
        found = {**FIRST_VERSION, **_without_noise(found)}
    return validated(Policy, found, where)


def short_reference(policy: Policy) -> str | None:
    """The reference if it is a short hash: whoever may push can make a tag, or another commit, of the same digits."""
    return policy.reference if policy.reference and SHORT_HASH.fullmatch(policy.reference) else None


def _without_noise(content: dict[str, Any]) -> dict[str, Any]:
    """The very first policies held each metric's spread, which is in metrics_noise.json since."""
    files = content.get("metrics")
    if not isinstance(files, dict):
        return content
    metrics = {
        file: {
            name: {key: value for key, value in rule.items() if key != "noise"} if isinstance(rule, dict) else rule
            for name, rule in rules.items()
        }
        if isinstance(rules, dict)
        else rules
        for file, rules in files.items()
    }
    return {**content, "metrics": metrics}


def _share(text: str) -> float | None:
    """5% as 0.05; None if the text is not a percentage."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else None
    except ValueError:
        return None
