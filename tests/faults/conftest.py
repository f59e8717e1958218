"""Fixtures for faults, the cheapest first; all are copies, which a test may do anything to.

- `toy`: a committed project whose train and evaluate stages are stale and do nothing but write their outputs (a
  `dvc repro` takes two seconds; `hold` and `release` make a stage wait). For everything around a stage: guard, lock,
  signals, receipts.
- `fetching`: the same with stage fetch alone, as it is in the working tree, for `fetching.stage("fetch")`, a process of
  its own that starts in a third of a second. For what happens when a stage is imported.
- `project`: a committed project with up-to-date results of three epochs on digits. `project.dvc(...)` is the real
  command in a fork of the test's process, `run_stage` runs a stage in this process; both spare the seconds that
  importing takes. `project.start_repro()` and `project.stage(...)` start processes and are for what needs one.

The project is built once for all test processes, here and in tests/pipeline.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.project import TOY_STAGE, Project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Iterator[Project]:
    project = reproduced.copy(tmp_path / "project")
    yield project
    project.clean_up()


@pytest.fixture
def toy(project: Project) -> Project:
    project.make_toy()
    return project


@pytest.fixture
def fetching(project: Project) -> Project:
    shutil.copy(TOY_STAGE, project.path / "stages/fetch.py")
    return project
