"""The schema of metrics_policy.yaml: what a change may do to each metric."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from src.core.errors import UserError
from src.report.safe_yaml import parse_yaml

SEED_DEVIATIONS = 2  # about 95% of differences that the seed alone makes are smaller


class Noise(BaseModel):
    """Spread of a metric over trainings that differ in the seed alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    std: float = Field(gt=0, description="sample standard deviation, in the metric's unit")
    seeds: int = Field(ge=2, description="how many trainings it was measured over")

    @property
    def spread(self) -> float:
        """Standard deviation of the difference between two trainings: √2 times that of one."""
        return math.sqrt(2) * self.std

    def covers(self, change: float) -> bool:
        """Whether a change, of either sign, is within what another seed gives."""
        return abs(change) <= SEED_DEVIATIONS * self.spread


class Rule(BaseModel):
    """What one metric may do. A rule that gates can fail the report, another only informs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    better: Literal["higher", "lower"]
    tolerated: float | str = Field(description="greatest loss: a number, or a share of the old value such as 5%")
    gates: bool
    noise: Noise | None = None

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
        """The greatest loss from this old value that the rule tolerates, at least 0."""
        return self.tolerated if isinstance(self.tolerated, float) else abs(old) * (_share(self.tolerated) or 0.0)


class Policy(BaseModel):
    """Rules by metrics file, then by the metric's name, with dots between the levels of a nested file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metrics: dict[str, dict[str, Rule]]

    def rule(self, file: str, name: str) -> Rule | None:
        """The rule of a metric, or None where it has none and only informs."""
        return self.metrics.get(file, {}).get(name)


def parse_policy(text: str, where: str) -> Policy:
    """Read and check a policy.

    Args:
        text: Content of metrics_policy.yaml.
        where: How to name it in an error.

    Raises:
        UserError: Naming every problem at once.
    """
    try:
        return Policy.model_validate(parse_yaml(text.encode(), where))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise UserError(f"{where}: {'; '.join(problems)}") from error


def _share(text: str) -> float | None:
    """5% as 0.05; None where the text is no percentage."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else None
    except ValueError:
        return None
