"""Models that GTO registered."""

import logging
from pathlib import Path

from src.core.errors import UserError, one_line

NAME = "mnist-classifier"


def fetch_version(version: str, target: Path) -> None:
    """Write a registered version of the model, from DVC's cache or the default remote of that version.

    Args:
        version: As `gto show mnist-classifier` lists it: v1.0.0.
        target: A new file.

    Raises:
        UserError: If there is no such version here, or its file cannot be fetched.
    """
    # Imported here because it takes half a second, which a model file need not pay.
    from dvc.exceptions import DvcException
    from dvc.repo.artifacts import Artifacts

    # Where it finds nothing, it logs that there is no account of DVC Studio.
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        Artifacts.get(".", NAME, version=version, out=str(target))
    except DvcException as error:
        raise UserError(
            f"{NAME}: version {version} cannot be fetched ({one_line(error)}); `git fetch --tags` brings "
            f"the versions, `gto show {NAME}` lists them, `dvc remote list` shows where their files are"
        ) from error
