"""Values of YAML and JSON."""

import sys
from typing import Any


def finite(value: Any) -> float | None:
    """Convert a finite number to a float; None for anything else, including True and integers beyond float's range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def same(one: Any, other: Any) -> bool:
    """Whether two values have equal content and types: 1, 1.0 and True all differ. NaN equals nothing."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
