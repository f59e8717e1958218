"""YAML read as DVC reads it (YAML 1.2), so that 1e-05, yes and 010 mean here what they mean to DVC."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode

from src.core.errors import UserError, one_line


def read_mapping(path: Path) -> tuple[dict[Any, Any], list[str]]:
    """Read a file with one `key: value` per line.

    Args:
        path: A small file of the project, such as params.yaml.

    Returns:
        (content, keys given more than once).

    Raises:
        UserError: If the file cannot be read or is not a YAML mapping.
    """
    # Advice that loses no edit.
    repair = f"mend it, or see what changed: `git diff {path}`"
    # As DVC has it: with ruamel.yaml.clib, a tab may separate a key and its value, without it none may.
    reader = YAML(typ="safe")
    # The caller reports duplicates together with everything else. The reader would stop at the first.
    reader.allow_duplicate_keys = True
    try:
        text = path.read_text(encoding="utf-8")
        node = reader.compose(text)
        content = None if node is None else reader.constructor.construct_document(node)
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; restore it with `git checkout {path}`") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {repair}") from error
    # The reader lets through what int(), date() and recursion raise on values such as `!!int x` and 2026-02-30.
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path}: is not YAML: {one_line(error)}; {repair}") from error
    if not isinstance(node, MappingNode) or not isinstance(content, dict):
        got = "nothing" if content is None else f"type {type(content).__name__}"
        raise UserError(f"{path}: expected one `key: value` per line, got {got}; {repair}")
    keys = [str(key.value) for key, _ in node.value]
    return content, [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
