"""The schema of metrics_policy.yaml: what a change may do to each metric."""

import math
import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from src.revision.parsing import parse_yaml, validated


class Rule(BaseModel):
    """How much one metric may lose. A rule that gates can fail the report; any other only informs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    better: Literal["higher", "lower"]
    tolerated: float | str = Field(description="largest loss: a number, or a share of the old value such as 5%")
    gates: bool
    mcnemar: bool = Field(default=False, description="McNemar's test over the test images applies to this metric")
    accumulated: float | None = Field(default=None, ge=0, description="largest loss since the policy's reference")

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


class Policy(BaseModel):
    """Rules by metrics file, then by the metric's name, with dots between the levels of a nested file.

    The rules' `accumulated` bounds the losses since `reference`, a commit or tag.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metrics: dict[str, dict[str, Rule]]
    reference: str | None = Field(default=None, min_length=1)

    @field_validator("reference")
    @classmethod
    def _is_whole(cls, value: str | None) -> str | None:
        # Whoever may push can make a tag, or another commit, of the same few digits.
        if value and re.fullmatch(r"[0-9a-f]{4,39}", value):
            raise ValueError("expected a tag or a whole hash of 40 digits")
        return value

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        bars = [name for rules in self.metrics.values() for name, rule in rules.items() if rule.accumulated is not None]
        if bars and self.reference is None:
            raise ValueError(f"expected a reference, since {', '.join(bars)} has an accumulated loss")
        return self

    def rule(self, file: str, name: str) -> Rule | None:
        """The rule of a metric, or None if it has none and only informs."""
        return self.metrics.get(file, {}).get(name)


def parse_policy(text: str, where: str) -> Policy:
    """Read and check a policy.

    Args:
        text: Content of metrics_policy.yaml.
        where: How to name it in an error.

    Raises:
        UserError: Naming every problem at once.
    """
    return validated(Policy, parse_yaml(text.encode(), where), where)


def _share(text: str) -> float | None:
    """5% as 0.05; None if the text is not a percentage."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else None
    except ValueError:
        return None
