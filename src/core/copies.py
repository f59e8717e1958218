"""Copies of a repository in which DVC runs queued and `--temp` experiments; DVC deletes them, also after a failure."""

from pathlib import Path


def original(folder: Path) -> Path:
    """The repository that a folder is a copy of; the folder itself if it is not a copy."""
    for above in folder.resolve().parents:
        if above.parts[-3:] == (".dvc", "tmp", "exps"):
            return above.parents[2]
    return folder
