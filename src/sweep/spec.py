"""The file that describes a sweep, and the runs that it asks for.

    draws: 8                              how often every interval is drawn
    draw_seed: 0                          other draws
    params:
      epochs: 3                           the same in all runs
      label_smoothing: choice(0.0, 0.1)   tried in every combination, as is range(0, 3) or 0.0,0.1
      lr: tag(log, interval(0.001, 0.02)) drawn at random, with tag(log, …) evenly on a logarithmic scale
      seed: range(0, 3)

Values have the grammar of `dvc exp run --set-param` (Hydra's). DVC itself refuses intervals, which are the same
grammar's random draws. A param that is not named keeps its value from params.yaml.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.utils.hydra import to_hydra_overrides
from hydra.errors import HydraException
from ruamel.yaml import YAML

from src.core.errors import UserError
from src.core.yaml_file import read_mapping
from src.guard.preflight import check_sizes
from src.mnist.model.params import Params, check_params

SPEC = Path("sweep.yaml")
KEYS = ("draws", "draw_seed", "params")
MAX_RUNS = 10_000
# Enough for a hyperparameter, and few enough to read and to type.
SIGNIFICANT_DIGITS = 4


@dataclass(frozen=True)
class Interval:
    """Where a param is drawn from: evenly from low to high, or evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool


# The values to try, or where to draw them from.
Values = Sequence[Any] | Interval


@dataclass(frozen=True)
class Sweep:
    """What a spec asks for.

    Attributes:
        where: The spec's path, for messages.
        params: The values to try, by name, as given.
        draws: How often every interval is drawn.
        draw_seed: Chooses the draws.
    """

    where: str
    params: Mapping[str, Values]
    draws: int = 1
    draw_seed: int = 0

    @property
    def varied(self) -> list[str]:
        """Names of the params that differ between runs."""
        return [name for name, values in self.params.items() if isinstance(values, Interval) or len(values) > 1]

    def runs(self, base: Params) -> list[Params]:
        """The params of every run, each once.

        Args:
            base: Values of the params that the spec does not name.

        Raises:
            UserError: If any of them is not valid.
        """
        grid = {name: values for name, values in self.params.items() if not isinstance(values, Interval)}
        drawn = {name: self._draw(name, values) for name, values in self.params.items() if isinstance(values, Interval)}
        draws = zip(*drawn.values(), strict=True) if drawn else [()]
        found: dict[Params, None] = {}
        for draw, combination in itertools.product(draws, itertools.product(*grid.values())):
            values = dict(zip(drawn, draw, strict=True)) | dict(zip(grid, combination, strict=True))
            params = check_params({**base.model_dump(), **values}, self.where)
            try:
                check_sizes(params)
            except UserError as error:
                raise UserError(f"{self.where}: a run is not possible: {error}") from error
            found[params] = None
        return list(found)

    def _draw(self, name: str, interval: Interval) -> list[float]:
        """Draws of one param. They depend neither on the other params nor on how many there are."""
        generator = random.Random(f"{self.draw_seed} {name}")
        return [_draw_one(interval, generator.random(), whole=is_whole(name)) for _ in range(self.draws)]


def read_sweep(path: Path) -> Sweep:
    """Read a spec.

    Raises:
        UserError: If anything is wrong with it.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file; name the file that describes the sweep, such as {SPEC}")
    content, duplicates = read_mapping(path)
    problems = [f"{key} is given more than once" for key in duplicates]
    problems += [f"{key} is not known (known: draws, draw_seed, params)" for key in content if key not in KEYS]
    params = content.get("params")
    if not isinstance(params, dict) or not params:
        problems.append("params must be one `name: values` per line")
        params = {}
    problems += [f"params: {name} is not a parameter" for name in params if name not in Params.model_fields]
    problems += [f"params: {name} is given more than once" for name in (_given_twice(path) if params else [])]
    draws, draw_seed = content.get("draws", 1), content.get("draw_seed", 0)
    if type(draws) is not int or not 1 <= draws <= MAX_RUNS:
        problems.append(f"draws must be a whole number from 1 to {MAX_RUNS}, got {draws!r}")
    if type(draw_seed) is not int:
        problems.append(f"draw_seed must be a whole number, got {draw_seed!r}")
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    return make_sweep(str(path), params, draws, draw_seed)


def _given_twice(path: Path) -> list[str]:
    """Names of the params that are given more than once; reading keeps one of the values."""
    reader = YAML(typ="safe", pure=True)
    reader.allow_duplicate_keys = True
    top = reader.compose(path.read_text(encoding="utf-8"))
    names = [key.value for at, params in top.value if at.value == "params" for key, _ in params.value]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def make_sweep(where: str, params: Mapping[str, Any], draws: int = 1, draw_seed: int = 0) -> Sweep:
    """A sweep over values as a spec gives them: text in DVC's grammar, other scalars, lists of scalars.

    Raises:
        UserError: If a value is not in the grammar, or if there are too many combinations.
    """
    sweep = Sweep(where, {name: _values(where, name, text) for name, text in params.items()}, draws, draw_seed)
    intervals = [values for values in sweep.params.values() if isinstance(values, Interval)]
    if draws > 1 and not intervals:
        raise UserError(f"{where}: draws is given, but no param has an interval to draw from")
    if empty := [name for name, values in sweep.params.items() if not isinstance(values, Interval) and not values]:
        raise UserError(f"{where}: params: {empty[0]}: expected at least one value, got {params[empty[0]]!r}")
    sizes = [len(values) for values in sweep.params.values() if not isinstance(values, Interval)]
    if (count := math.prod(sizes) * (draws if intervals else 1)) > MAX_RUNS:
        raise UserError(f"{where}: expected at most {MAX_RUNS:,} runs, got {count:,}")
    return sweep


def is_whole(name: str) -> bool:
    """Whether a param is a whole number."""
    return Params.model_fields[name].annotation is int


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
            return [_tidy(value) for value in itertools.islice(override.sweep_iterator(), MAX_RUNS + 1)]
        low, high, log = value.start, value.end, "log" in value.tags
    except (HydraException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{where}: params: {name}: {given!r} is not in the grammar of `dvc exp run --set-param` ({reason})"
        ) from error
    if not (0 if log else -math.inf) < low <= high < math.inf:
        raise UserError(
            f"{where}: params: {name}: expected an interval from a smaller to a larger number"
            f"{', both above 0 since it is logarithmic' if log else ''}, got {given!r}"
        )
    if is_whole(name) and (low, high) != (int(low), int(high)):
        raise UserError(f"{where}: params: {name}: expected an interval between whole numbers, got {given!r}")
    return Interval(int(low), int(high), log) if is_whole(name) else Interval(low, high, log)


def _tidy(value: Any) -> Any:
    """Without the error that a range of floats adds up."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _draw_one(interval: Interval, share: float, whole: bool) -> float:
    """The value at a share, in [0, 1), of an interval."""
    low, high = interval.low, interval.high
    if whole and not interval.log:
        return low + math.floor(share * (high - low + 1))
    value = low * (high / low) ** share if interval.log else low + share * (high - low)
    return round(value) if whole else min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), low), high)
