"""Model versions registered with GTO."""

import logging
from pathlib import Path

from src.core.errors import UserError, one_line

NAME = "mnist-classifier"


def fetch_version(version: str, target: Path) -> None:
    """Write a registered version of the model, from DVC's cache or the default remote of that version.

    Args:
        version: A version as listed by `gto show mnist-classifier`, such as v1.0.0.
        target: The file to create.

    Raises:
        UserError: If the version is not in this repository, or its file cannot be fetched.
    """
    # Imported here because it takes half a second, which is wasted if the model is a local file.
    from dvc.exceptions import DvcException
    from dvc.repo.artifacts import Artifacts

    # If it finds nothing, it logs that there is no account for DVC Studio.
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        Artifacts.get(".", NAME, version=version, out=str(target))
    except (DvcException, OSError) as error:
        # DVC itself says only that it failed.
        reason = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise UserError(
            f"{NAME}: version {version} cannot be fetched ({one_line(reason)}); `git fetch --tags` brings "
            f"the versions, `gto show {NAME}` lists them, `dvc remote list` shows where their files are"
        ) from error
