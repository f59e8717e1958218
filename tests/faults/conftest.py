from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.project import Project, shared


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose results are up to date and committed; tests work on copies."""

    def build(path: Path) -> None:
        # The recipe does not matter here, but it must be quick, and no epoch may depend on how many there will be.
        project = Project.create(
            path, dataset="digits", epochs=2, architecture="cnn", schedule="constant", batch_size=128, lr=0.001
        )
        project.repro()
        project.commit()

    return shared(tmp_path_factory, "trained", build)


@pytest.fixture
def project(trained: Project, tmp_path: Path) -> Iterator[Project]:
    project = trained.copy(tmp_path / "project")
    yield project
    project.clean_up()
