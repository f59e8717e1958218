"""YAML read as DVC reads it (YAML 1.2), so that 1e-05, yes and 010 mean here what they mean to DVC."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from src.core.errors import UserError, one_line

# What the reader raises, which wraps nothing of int(), date() and recursion on values such as `!!int x` and 2026-02-30.
BAD_CONTENT = (YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a small file of the project with one `key: value` per line, such as params.yaml.

    Raises:
        UserError: If the file cannot be read, is not a YAML mapping or gives a key twice.
    """
    # Advice that loses no edit.
    repair = f"mend it, or see what changed: `git diff {path}`"
    try:
        # As DVC has it: with ruamel.yaml.clib, a tab may separate a key and its value, without it none may.
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; restore it with `git checkout {path}`") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {repair}") from error
    except BAD_CONTENT as error:
        what = one_line(error)
        if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
            what = f"line {error.problem_mark.line + 1}: {' '.join(error.problem.split())}"
        raise UserError(f"{path}: is not YAML: {what}; {repair}") from error
    if not isinstance(content, dict):
        got = "nothing" if content is None else f"type {type(content).__name__}"
        raise UserError(f"{path}: expected one `key: value` per line, got {got}; {repair}")
    return content
