"""dvc.lock of a working tree."""

import re
from pathlib import Path
from typing import Any

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from src.core.errors import UserError
from src.core.yaml_file import read_mapping

REMAKE = "delete dvc.lock, then run `dvc repro`"


def read_lock(root: Path) -> dict[str, dict[str, Any]]:
    """What dvc.lock records of each stage.

    Raises:
        UserError: If it is missing, or is not what DVC wrote.
    """
    path = root / "dvc.lock"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError("dvc.lock: is missing, so there are no results; run `dvc repro`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"dvc.lock: cannot be read ({error}); {REMAKE}") from error
    if re.search(r"^(<<<<<<< |>>>>>>> )", text, re.MULTILINE):
        raise UserError(f"dvc.lock: has the conflict markers of a merge; {REMAKE}")
    try:
        return COMPILED_LOCKFILE_SCHEMA(read_mapping(path)[0])["stages"]
    except (UserError, Invalid, KeyError) as error:
        raise UserError(f"dvc.lock: is not what DVC wrote, or not all of it; {REMAKE}") from error
