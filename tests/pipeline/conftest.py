from pathlib import Path

import pytest

from tests.faults.project import Project, shared

STAGES = ("fetch", "train", "evaluate")


def paths(entries: list) -> list[str]:
    """Names of outs, metrics or plots in dvc.yaml, which may have options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


@pytest.fixture(scope="session")
def one_epoch(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A second commit with the results of an experiment, shared by all test processes."""

    def build(path: Path) -> None:
        project = reproduced.copy(path)
        project.dvc_ok("exp", "run", "-S", "epochs=1", "--name", "shorter")
        project.commit()

    return shared(tmp_path_factory, "one-epoch", build)
