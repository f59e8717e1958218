from pathlib import Path

import pytest

from tests.faults.project import Project

STAGES = ("fetch", "train", "evaluate")


def paths(entries: list) -> list[str]:
    """Names of outs, metrics or plots in dvc.yaml, each with its options or without."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of its own for one test."""
    return reproduced.copy(tmp_path / "project")
