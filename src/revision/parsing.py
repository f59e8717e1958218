"""YAML, JSON and TOML from a branch, read under limits, so that no content takes much time or memory.

YAML is read as DVC reads it (YAML 1.2), so 1e-05, yes and 010 mean the same here as in DVC.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from src.core.errors import UserError
from src.core.yaml_file import BAD_CONTENT, what_is_wrong

MAX_YAML_BYTES = 100_000  # Also for TOML.
MAX_JSON_BYTES = 5_000_000
MAX_DEPTH = 50
MAX_BRACKETS = 500  # The scanner looks ahead within brackets, which takes time quadratic in their depth.
MAX_VALUES = 10_000  # Including those that aliases repeat.
MAX_PLAIN_LENGTH = 1_000  # Characters of a value without quotes, such as a number.
MAX_PROBLEMS = 5  # Reported per file.
T = TypeVar("T")
# Parts of pydantic's messages that refer to our code; of places, those with a bracket do.
SCHEMA_WORDS = re.compile(r"^Value error, | or instance of \w+$")


class Strict(BaseModel):
    """Content of a file: other keys and types are errors, as are NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse(content: bytes, path: str, where: str) -> Any:
    """Parse a file by the suffix of its name; NaN and infinities are returned, for the caller to handle.

    Do not modify the result: it is cached, and returned again for the same YAML.

    Args:
        content: Content of the file.
        path: Ends in `.json`, `.toml`, `.yaml` or `.yml`, or in `.dvc` or `.lock`, which are YAML.
        where: Name of the file in error messages.

    Raises:
        UserError: If the content is malformed, beyond the limits or in another format, or has a duplicate key.
    """
    formats = {".json": "JSON", ".toml": "TOML"} | dict.fromkeys((".yaml", ".yml", ".dvc", ".lock"), "YAML")
    name = formats.get(PurePosixPath(path).suffix)
    try:
        match name:
            case "JSON":
                return json.loads(_decoded(content, MAX_JSON_BYTES), object_pairs_hook=_no_key_twice)
            case "TOML":
                return tomllib.loads(_decoded(content))
            case "YAML":
                return _parse_yaml(content)
        raise UserError("expected YAML, JSON or TOML, the only formats that are read")
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except BAD_CONTENT as error:
        raise UserError(f"{where}: is not {name}: {what_is_wrong(error)}") from error


def validated(schema: type[T], content: Any, where: str) -> T:
    """Convert content to an instance of its schema.

    Raises:
        UserError: If it is invalid; the message lists the first problems with their places, such as
            `metrics.metrics/eval.json.test_acc.better`.
    """
    try:
        found: T = _adapter(schema).validate_python(content)
    except ValidationError as error:
        problems = [
            ": ".join(filter(None, (_place(one["loc"]), SCHEMA_WORDS.sub("", one["msg"])))) for one in error.errors()
        ]
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise UserError(f"{where}: {'; '.join([*problems[:MAX_PROBLEMS], *more])}") from error
    return found


def _place(parts: tuple[int | str, ...]) -> str:
    shown = [str(part) for part in parts if "[" not in str(part)]
    # A key with other characters is quoted, so that it does not read like our own words.
    return ".".join(part if re.fullmatch(r"[\w./:@+-]+", part) else repr(part) for part in shown)


def flatten(content: Any, where: str) -> dict[str, Any]:
    """Values by path, with dots between levels.

    Raises:
        UserError: If two have the same path.
    """
    found: dict[str, Any] = {}
    for name, value in leaves(content):
        if name in found:
            raise UserError(f"{where}: {name} is given twice, nested and with dots in its name")
        found[name] = value
    return found


def leaves(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield paths, with dots between levels, and values; not recursive, since the branch controls the depth."""
    left = [("", content)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict) and (value or not name):
            left += [(f"{name}.{key}" if name else str(key), inner) for key, inner in reversed(value.items())]
        else:
            yield name, value


def _decoded(content: bytes, largest: int = MAX_YAML_BYTES) -> str:
    if len(content) > largest:
        raise UserError(f"expected at most {largest:,} bytes, got {len(content):,}")
    return content.decode()


_adapter: Callable[[Any], TypeAdapter[Any]] = lru_cache(maxsize=32)(TypeAdapter)


# Cached, because most files of a report's two revisions are the same.
@lru_cache(maxsize=16)
def _parse_yaml(content: bytes) -> Any:
    text = _decoded(content)
    if (brackets := text.count("[") + text.count("{")) > MAX_BRACKETS:
        raise UserError(f"expected at most {MAX_BRACKETS} opening brackets, got {brackets:,}")
    _check_events(text)
    return YAML(typ="safe").load(text)


def _check_events(text: str) -> None:
    """Count values and depth before the content is built in memory."""
    values = 0
    opened: list[tuple[str | None, int]] = []  # Anchor of each open value, and the number of values before it.
    sizes: dict[str | None, int] = {}
    for event in YAML(typ="safe").parse(text):
        if tag := getattr(event, "tag", None):
            raise UserError(f"expected no tags, got {tag}")
        if isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise UserError(f"expected no alias within its own anchor: {event.anchor}")
            values += sizes[event.anchor]
        if isinstance(event, ScalarEvent) and not event.style and len(event.value) > MAX_PLAIN_LENGTH:
            length = len(event.value)
            raise UserError(f"expected at most {MAX_PLAIN_LENGTH:,} characters without quotes, got {length:,}")
        if isinstance(event, ScalarEvent | CollectionStartEvent):
            opened.append((event.anchor, values))
            values += 1
        if values > MAX_VALUES:
            raise UserError(f"expected at most {MAX_VALUES:,} values, with those that aliases repeat")
        if len(opened) > MAX_DEPTH:
            raise UserError(f"expected at most {MAX_DEPTH} levels")
        if isinstance(event, ScalarEvent | CollectionEndEvent):
            anchor, before = opened.pop()
            sizes[anchor] = values - before


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is given twice")
    return content
