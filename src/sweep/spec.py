"""The experiments of a sweep: sweep.yaml.

    sampler: tpe # grid (default): every combination; random; tpe: samples where results so far are best
    trials: 20 # number of trials, unless the sampler is grid
    pruner: median # stops a trial that is worse than the median of the others at the same epoch; default: none
    params:
      epochs: 5
      schedule: choice(constant, cosine)
      label_smoothing: range(0.0, 0.3, 0.1)
      lr: tag(log, interval(0.001, 0.1))
      seed: [0, 1]

Values have the grammar of `dvc exp run --set-param` (Hydra's). Intervals, the grammar's random draws, are rejected by
DVC itself. Params that are not listed keep their values from params.yaml.
"""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dvc.utils.hydra import to_hydra_overrides
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from src.core.errors import UserError
from src.core.yaml_file import read_mapping
from src.revision.parsing import validated
from src.sweep.experiments import Base

SPEC = Path("sweep.yaml")
MAX_TRIALS = 1_000


@dataclass(frozen=True)
class Space:
    """The search space of a sweep, checked against the schema."""

    # The file's name and content.
    where: str
    spec: "Spec"
    # All params, in the schema's order; trials override those in `drawn`.
    common: Mapping[str, Any]
    drawn: Mapping[str, BaseDistribution]
    # The params of each trial of a grid, in the order of execution; empty if a sampler chooses.
    grid: Sequence[Mapping[str, Any]]


class Spec(BaseModel):
    """The content of a sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sampler: Literal["grid", "random", "tpe"] = "grid"
    trials: int | None = Field(default=None, ge=1, le=MAX_TRIALS)
    pruner: Literal["none", "median"] = "none"
    # By name, the values to try or the distribution to draw them from.
    params: dict[str, Any] = Field(min_length=1)

    @field_validator("params")
    @classmethod
    def _parse(cls, params: dict[str, Any]) -> dict[str, Any]:
        return {name: _values(name, given) for name, given in params.items()}

    @model_validator(mode="after")
    def _check(self) -> "Spec":
        if self.sampler != "grid" and self.trials is None:
            raise ValueError(f"{self.sampler} needs `trials`, a whole number from 1 to {MAX_TRIALS}")
        if self.sampler == "grid" and self.trials is not None:
            raise ValueError("trials is for random and tpe; a grid runs every combination")
        for name, values in self.params.items():
            if self.sampler == "grid" and isinstance(values, FloatDistribution):
                raise ValueError(f"params: {name}: an interval needs `sampler: tpe` or `random`, got a grid")
        return self

    @property
    def varied(self) -> list[str]:
        """Names of the params that differ between trials."""
        return [
            name for name, values in self.params.items() if isinstance(values, FloatDistribution) or len(values) > 1
        ]

    def settings(self, base: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
        """List the params of every trial of a grid; for a sampler, vary one param at a time over its choices or ends.

        Raises:
            UserError: If params.yaml (`base`) lacks a param, or a grid is too large.
        """
        if unknown := [name for name in self.params if name not in base]:
            raise UserError(f"{where}: params: {unknown[0]} is not a parameter (known: {', '.join(base)})")
        options = {name: _extremes(values) for name, values in self.params.items()}
        first = {**base, **{name: values[0] for name, values in options.items()}}
        if self.sampler != "grid":
            return [{**first, name: value} for name, values in options.items() for value in values]
        count = math.prod(map(len, options.values()))
        if count > MAX_TRIALS:
            raise UserError(f"{where}: expected at most {MAX_TRIALS:,} trials, got at least {count:,}")
        return [{**first, **dict(zip(options, values, strict=True))} for values in itertools.product(*options.values())]

    def space(self, where: str, checked: Sequence[Mapping[str, Any]]) -> Space:
        """Build the search space from settings that have the schema's order and types."""
        drawn: dict[str, BaseDistribution] = {}
        for name in self.varied:
            values, known = self.params[name], list(dict.fromkeys(setting[name] for setting in checked))
            if not isinstance(values, FloatDistribution):
                # Sorted, because the order, which DVC can shuffle, must not make another study.
                drawn[name] = CategoricalDistribution(sorted(known, key=repr))
            elif isinstance(known[0], int):
                drawn[name] = IntDistribution(known[0], known[-1], log=values.log)
            else:
                drawn[name] = FloatDistribution(known[0], known[-1], log=values.log)
        return Space(where, self, checked[0], drawn, checked if self.sampler == "grid" else ())

    def asks_for(self, params: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
        """Whether a run with these params belongs to the sweep, given the values of params.yaml as `base`."""
        return params.keys() == base.keys() and all(
            values.low <= params[name] <= values.high
            if isinstance(values := self.params.get(name, [base[name]]), FloatDistribution)
            else params[name] in values
            for name in params
        )


def read_spec(path: Path) -> Spec:
    """Read a file; raises UserError if it is missing or malformed."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file; name the file that describes the sweep, such as {SPEC}")
    return validated(Spec, read_mapping(path), str(path))


def read_space(base: Base, spec: Spec, where: str) -> Space:
    """Build the search space; raises UserError if stage check rejects one of its settings."""
    command, asked = [sys.executable, "-m", "stages.check", where], spec.settings(base.params, where)
    text = json.dumps(asked, default=str)
    done = subprocess.run(command, cwd=base.root, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        line = done.stderr.strip()
        raise UserError(line) if "\n" not in line else RuntimeError(f"stages.check failed:\n{line}")
    return spec.space(where, json.loads(done.stdout))


def _values(name: str, given: Any) -> list[Any] | FloatDistribution:
    """Parse the values to try for one param: text in DVC's grammar, another scalar, or a list of scalars."""
    values = given if isinstance(given, list) else [given]
    if isinstance(given, str):
        try:
            (override,) = to_hydra_overrides([f"{name}={given}"])
            value = override.value()
            if not override.is_sweep_override():
                return [value]
            if not override.is_discrete_sweep():
                return FloatDistribution(value.start, value.end, log="log" in value.tags)
            values = [_tidy(value) for value in itertools.islice(override.sweep_iterator(), MAX_TRIALS + 1)]
        except (HydraException, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{name}: expected a value in the grammar of `dvc exp run --set-param`, got {given!r} ({reason})"
            ) from error
    if not values:
        raise ValueError(f"{name}: expected at least one value, got {given!r}")
    if len(values) > 1 and any(isinstance(value, list | dict) for value in values):
        raise ValueError(f"{name}: expected single values to choose from, got {given!r}")
    return values


def _tidy(value: Any) -> Any:
    """Remove quotes, and the rounding error that a range of floats accumulates."""
    if isinstance(value, QuotedString):
        return value.text
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _extremes(values: list[Any] | FloatDistribution) -> list[Any]:
    """The values, or the ends of an interval, as int if they are whole: the schema accepts an int for a float."""
    if not isinstance(values, FloatDistribution):
        return values
    return [int(end) if end.is_integer() else end for end in (values.low, values.high)]
