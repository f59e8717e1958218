"""Values of YAML and JSON."""

import sys
from typing import Any


def finite(value: Any) -> float | None:
    """A finite number as a float, or None: neither True nor a whole number too large for a float is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types: 1, 1.0 and True are three values. NaN equals nothing."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
