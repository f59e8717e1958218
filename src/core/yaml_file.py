"""YAML as DVC reads it (YAML 1.2), so that 1e-05, yes and 010 have the same meaning as in DVC."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from src.core.errors import UserError, one_line

# Exceptions of the reader, which does not wrap those of int(), date() and recursion, as for `!!int x` or 2026-02-30.
BAD_CONTENT = (YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a small file of the project with one `key: value` per line, such as params.yaml.

    Raises:
        UserError: If the file cannot be read, is not a YAML mapping or has a duplicate key.
    """
    # This advice does not lose edits.
    repair = f"fix it, or see what changed: `git diff {path}`"
    try:
        # Same as in DVC: a tab may separate a key and its value only if ruamel.yaml.clib is installed.
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; restore it with `git checkout {path}`") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {repair}") from error
    except BAD_CONTENT as error:
        raise UserError(f"{path}: is not YAML: {what_is_wrong(error)}; {repair}") from error
    if not isinstance(content, dict):
        got = "nothing" if content is None else f"type {type(content).__name__}"
        raise UserError(f"{path}: expected one `key: value` per line, got {got}; {repair}")
    return content


def what_is_wrong(error: Exception) -> str:
    """One line about an error of a parser, with the number of a line in YAML."""
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {' '.join(error.problem.split())}"
    return one_line(error) or type(error).__name__
