"""Which experiments a sweep asks for: sweep.yaml.

    sampler: tpe # grid: every combination, the default; random; tpe: where the results so far look best
    trials: 20 # how many, unless the sampler is grid
    pruner: median # ends a trial that is worse than the median of the others at the same epoch; none is the default
    params:
      epochs: 5
      schedule: choice(constant, cosine)
      label_smoothing: range(0.0, 0.3, 0.1)
      lr: tag(log, interval(0.001, 0.1))
      seed: [0, 1]

Values have the grammar of `dvc exp run --set-param` (Hydra's). DVC itself refuses intervals, which are the same
grammar's random draws. A param that is not named keeps its value from params.yaml.
"""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dvc.utils.hydra import to_hydra_overrides
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from src.core.errors import UserError, one_line

SPEC = Path("sweep.yaml")
KEYS = ("sampler", "trials", "pruner", "params")
SAMPLERS = ("grid", "random", "tpe")
PRUNERS = ("none", "median")
MAX_TRIALS = 1_000
# Of values that are checked before the first trial.
MAX_SETTINGS = 10_000


@dataclass(frozen=True)
class Interval:
    """Where a param is drawn from: evenly from low to high, or evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool


# The values to try, or where to draw them from.
Values = Sequence[Any] | Interval


@dataclass(frozen=True)
class Space:
    """What trials may have, checked against the schema.

    Attributes:
        common: All params, in the schema's order; trials change those that are drawn.
        drawn: Where the others are drawn from.
        grid: The params of each trial of a grid, in the order in which they run.
    """

    common: Mapping[str, Any]
    drawn: Mapping[str, BaseDistribution]
    grid: Sequence[Mapping[str, Any]] = field(default=())


@dataclass(frozen=True)
class Spec:
    """What a file asks for.

    Attributes:
        where: The file's path, for messages.
        values: The values to try, by the param's name.
        sampler: One of SAMPLERS.
        trials: How many; None for a grid.
        pruner: One of PRUNERS.
    """

    where: str
    values: Mapping[str, Values]
    sampler: str = "grid"
    trials: int | None = None
    pruner: str = "none"

    @property
    def varied(self) -> list[str]:
        """Names of the params that differ between trials."""
        return [name for name, values in self.values.items() if isinstance(values, Interval) or len(values) > 1]

    def settings(self, base: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The params of every trial of a grid; of a sampler, every combination of choices and ends of intervals.

        If these are too many, those in which one param differs from the first combination.

        Raises:
            UserError: If params.yaml lacks a param, or a grid is too large.
        """
        if unknown := [name for name in self.values if name not in base]:
            raise UserError(f"{self.where}: params: {unknown[0]} is not a parameter (known: {', '.join(base)})")
        options = {name: _extremes(values) for name, values in self.values.items()}
        count = math.prod(map(len, options.values()))
        if self.sampler == "grid" and count > MAX_TRIALS:
            raise UserError(f"{self.where}: expected at most {MAX_TRIALS:,} trials, got {count:,}")
        if count <= MAX_SETTINGS:
            chosen = (dict(zip(options, values, strict=True)) for values in itertools.product(*options.values()))
        else:
            first = {name: values[0] for name, values in options.items()}
            chosen = ({**first, name: value} for name, values in options.items() for value in values)
        return [{**base, **values} for values in chosen]

    def space(self, checked: Sequence[Mapping[str, Any]]) -> Space:
        """What trials may have.

        Args:
            checked: The settings, in the schema's order and types.
        """
        drawn: dict[str, BaseDistribution] = {}
        for name in self.varied:
            values, known = self.values[name], list(dict.fromkeys(setting[name] for setting in checked))
            if not isinstance(values, Interval):
                drawn[name] = CategoricalDistribution(known)
            elif isinstance(known[0], int):
                drawn[name] = IntDistribution(known[0], known[-1], log=values.log)
            else:
                drawn[name] = FloatDistribution(known[0], known[-1], log=values.log)
        return Space(checked[0], drawn, checked if self.sampler == "grid" else ())

    def asks_for(self, params: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
        """Whether a run with these params is one that the file asks for.

        Args:
            params: All params of the run.
            base: params.yaml of the commit that it began from.
        """

        def fits(name: str) -> bool:
            values = self.values.get(name, [base.get(name)])
            if isinstance(values, Interval):
                return values.low <= params[name] <= values.high
            return params[name] in values

        return params.keys() == base.keys() and all(map(fits, params))


def read_spec(path: Path) -> Spec:
    """Read a file.

    Raises:
        UserError: If anything is wrong with it.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file; name the file that describes the sweep, such as {SPEC}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML: {one_line(error)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected one `key: value` per line, got {content!r}")
    problems = [f"{key} is not known (known: {', '.join(KEYS)})" for key in content if key not in KEYS]
    params = content.get("params")
    if not isinstance(params, dict) or not params:
        problems.append("params must be one `name: values` per line")
        params = {}
    sampler, pruner = content.get("sampler", "grid"), content.get("pruner", "none")
    for name, given, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if given not in known:
            problems.append(f"{name} must be {' or '.join(known)}, got {given!r}")
    trials = content.get("trials")
    if sampler == "grid" and trials is not None:
        problems.append("trials is for random and tpe; a grid runs every combination")
    elif sampler in SAMPLERS[1:] and (type(trials) is not int or not 1 <= trials <= MAX_TRIALS):
        problems.append(f"trials must be a whole number from 1 to {MAX_TRIALS}, got {trials!r}")
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    return make_spec(str(path), params, sampler, trials, pruner)


def make_spec(
    where: str, params: Mapping[str, Any], sampler: str = "grid", trials: int | None = None, pruner: str = "none"
) -> Spec:
    """A spec over values as a file gives them: text in DVC's grammar, other scalars, lists of scalars.

    Raises:
        UserError: If a value is not in the grammar, or none is given, or a grid has an interval.
    """
    spec = Spec(where, {name: _values(where, name, given) for name, given in params.items()}, sampler, trials, pruner)
    for name, values in spec.values.items():
        if isinstance(values, Interval) and sampler == "grid":
            raise UserError(f"{where}: params: {name}: an interval needs `sampler: tpe` or `random`, got a grid")
        if not isinstance(values, Interval) and not values:
            raise UserError(f"{where}: params: {name}: expected at least one value, got {params[name]!r}")
    return spec


def check_settings(root: Path, settings: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Ask stage check whether runs can have these params.

    Args:
        root: The project's folder.
        settings: All params of each run.
        where: Who asks for them, for messages.

    Returns:
        The same in the schema's order and types.

    Raises:
        UserError: If one of them is not valid.
    """
    command, asked = [sys.executable, "-m", "stages.check", where], json.dumps(settings, default=str)
    done = subprocess.run(command, cwd=root, input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        line = done.stderr.strip()
        raise UserError(line) if "\n" not in line else RuntimeError(f"stages.check failed:\n{line}")
    return json.loads(done.stdout)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; PyYAML would drop one of the values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise UserError(f"{twice[0]} is given more than once")
        return super().construct_mapping(node, deep)


def _values(where: str, name: str, given: Any) -> Values:
    """The values to try of one param."""
    if isinstance(given, list):
        return given
    if not isinstance(given, str):
        return [given]
    try:
        (override,) = to_hydra_overrides([f"{name}={given}"])
        value = override.value()
        if not override.is_sweep_override():
            return [value]
        if override.is_discrete_sweep():
            return [_tidy(value) for value in itertools.islice(override.sweep_iterator(), MAX_TRIALS + 1)]
        low, high, log = value.start, value.end, "log" in value.tags
    except (HydraException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{where}: params: {name}: {given!r} is not in the grammar of `dvc exp run --set-param` ({reason})"
        ) from error
    if not (0 if log else -math.inf) < low < high < math.inf:
        raise UserError(
            f"{where}: params: {name}: expected an interval from a smaller to a larger number"
            f"{', both above 0 since it is logarithmic' if log else ''}, got {given!r}"
        )
    return Interval(low, high, log)


def _tidy(value: Any) -> Any:
    """Without the error that a range of floats adds up."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _extremes(values: Values) -> list[Any]:
    """The values, or the ends of an interval; whole numbers as such, which the schema takes for either kind."""
    if not isinstance(values, Interval):
        return list(values)
    return [int(end) if float(end).is_integer() else end for end in (values.low, values.high)]
