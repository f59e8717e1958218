"""YAML and JSON from a branch, read under limits: no content takes much time or memory.

YAML is read as DVC reads it (YAML 1.2), so 1e-05, yes and 010 mean the same here as in DVC.
"""

import json
import tomllib
from copy import deepcopy
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent

from src.core.errors import UserError, one_line

MAX_YAML_BYTES = 100_000
MAX_JSON_BYTES = 5_000_000
MAX_DEPTH = 50
MAX_BRACKETS = 500  # the scanner looks ahead within brackets, which takes time quadratic in their depth
MAX_VALUES = 10_000  # with aliases expanded
MAX_PLAIN_LENGTH = 1_000  # characters of a value without quotes, such as a number
MAX_PROBLEMS = 5  # of one file that are named
Schema = TypeVar("Schema", bound=BaseModel)
# ruamel.yaml does not wrap what int(), date() and recursion raise on values such as 2026-02-30.
BAD_VALUES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def parse_yaml(content: bytes, where: str) -> Any:
    """The one document of a YAML file.

    Args:
        content: Its bytes.
        where: How to name the file in an error.

    Raises:
        UserError: If it is not YAML, or beyond the limits, or gives a key twice.
    """
    _check_size(content, where)
    try:
        return deepcopy(_parse(content))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (YAMLError, *BAD_VALUES) as error:
        raise UserError(f"{where}: is not YAML: {one_line(error) or type(error).__name__}") from error


# Most files of the two revisions of a report are the same.
@lru_cache(maxsize=16)
def _parse(content: bytes) -> Any:
    text = content.decode()
    if (brackets := text.count("[") + text.count("{")) > MAX_BRACKETS:
        raise UserError(f"expected at most {MAX_BRACKETS} opening brackets, got {brackets:,}")
    _check_events(text)
    return YAML(typ="safe", pure=True).load(text)


def parse_json(content: bytes, where: str) -> Any:
    """Content of a JSON file; NaN and infinities are read as such, for the caller to judge.

    Raises:
        UserError: If it is not JSON, or gives a key twice.
    """
    try:
        return json.loads(content.decode(), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not JSON: {one_line(error) or type(error).__name__}") from error


def parse_values(content: bytes, path: str, where: str) -> Any:
    """Content of a file of params or metrics, by its ending.

    Raises:
        UserError: If it is malformed, or neither YAML, JSON nor TOML.
    """
    match PurePosixPath(path).suffix:
        case ".json":
            return parse_json(content, where)
        case ".yaml" | ".yml":
            return parse_yaml(content, where)
        case ".toml":
            return parse_toml(content, where)
        case _:
            raise UserError(f"{where}: expected YAML, JSON or TOML, the only formats that are read")


def parse_toml(content: bytes, where: str) -> Any:
    """Content of a TOML file.

    Raises:
        UserError: If it is not TOML, or larger than a YAML file may be.
    """
    _check_size(content, where)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not TOML: {one_line(error) or type(error).__name__}") from error


def validated(schema: type[Schema], content: Any, where: str) -> Schema:
    """Content as an instance of its schema.

    Raises:
        UserError: Naming the first problems and their places in the file.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {problems(error)}") from error


def problems(error: ValidationError) -> str:
    """The first problems with their places, such as `metrics.metrics/eval.json.test_acc.better: Field required`."""
    found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()]
    more = [f"and {len(found) - MAX_PROBLEMS} more"] if len(found) > MAX_PROBLEMS else []
    return "; ".join([*found[:MAX_PROBLEMS], *more])


def flatten(content: Any) -> dict[str, Any]:
    """Values by path, with dots between the levels; not recursive, since the branch chooses the depth."""
    flat: dict[str, Any] = {}
    left = [("", content)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict) and (value or not name):
            left += [(f"{name}.{key}" if name else str(key), inner) for key, inner in reversed(value.items())]
        else:
            flat[name] = value
    return flat


def _check_size(content: bytes, where: str) -> None:
    if len(content) > MAX_YAML_BYTES:
        raise UserError(f"{where}: expected at most {MAX_YAML_BYTES:,} bytes, got {len(content):,}")


def _check_events(text: str) -> None:
    """Count values and depth before the content is built in memory."""
    # (anchor, values so far) of each open collection.
    open_collections: list[tuple[str | None, int]] = [(None, 0)]
    sizes: dict[str, int] = {}
    for event in YAML(typ="safe", pure=True).parse(text):
        _check_event(event)
        if isinstance(event, CollectionStartEvent):
            open_collections.append((event.anchor, 1))
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, size = open_collections.pop()
        elif isinstance(event, ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise UserError(f"expected no alias within its own anchor: {event.anchor}")
            anchor, size = None, sizes[event.anchor]
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        outer, before = open_collections[-1]
        open_collections[-1] = (outer, before + size)
        if before + size > MAX_VALUES:
            raise UserError(f"expected at most {MAX_VALUES:,} values, with those that aliases repeat")
        if len(open_collections) > MAX_DEPTH:
            raise UserError(f"expected at most {MAX_DEPTH} levels")


def _check_event(event: Event) -> None:
    if tag := getattr(event, "tag", None):
        raise UserError(f"expected no tags, got {tag}")
    if isinstance(event, ScalarEvent) and event.style is None and len(event.value) > MAX_PLAIN_LENGTH:
        length = len(event.value)
        raise UserError(f"expected at most {MAX_PLAIN_LENGTH:,} characters without quotes, got {length:,}")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is given twice")
    return content
