import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from src.guard.environment import sanitize
from src.mnist.data.dataset import Examples, load_examples, write_examples
from src.mnist.model.params import Params, load_params

if TYPE_CHECKING:
    from tests.faults.project import Project

REPOSITORY = Path(__file__).parents[1]
# Tests train with one thread, except for those about threads. Two threads wait for each other by spinning, which
# multiplies the processor time of a training if there are more threads than cores.
THREADS = 1
# Fixed values, so that changed defaults do not break tests. Other params keep their committed values.
PARAMS = load_params(REPOSITORY / "params.yaml").model_copy(
    update={
        "dataset": "digits",
        "architecture": "cnn",
        "seed": 0,
        "val_fraction": 0.1,
        "epochs": 2,
        "batch_size": 64,
        "shards": 1,
        "lr": 0.006,
        "schedule": "one-cycle",
        "weight_decay": 0.0,
        "label_smoothing": 0.1,
        "shift": 2,
        "rotation": 0.0,
        "scale": 0.0,
        "ema": 0.0,
        "precision": "fp32",
        "threads": THREADS,
        "tta_shift": 0,
    }
)

# Tests copy whole projects, which takes half the system time in a memory file system. It needs enough space (in GB) and
# must allow executables.
MEMORY, ROOM = Path("/dev/shm"), 2
with suppress(FileNotFoundError):
    if shutil.disk_usage(MEMORY).free > ROOM * 1e9 and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# Trainings of one run of the tests take turns, but do not wait for others on this machine: the leases are in here.
if "PYTEST_XDIST_WORKER" not in os.environ:
    FOLDER = tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
    os.environ["TMPDIR"] = tempfile.tempdir = FOLDER.name
    # For PostgreSQL, which runs as another user.
    Path(FOLDER.name).chmod(0o755)

# As in a stage, before torch is imported, because test processes share the cores.
sanitize(os.environ)

# Processes in the background of a script or under nohup, and their children, would ignore Ctrl-C and a closed terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Imports do not create garbage.
gc.disable()

# A test process is done once its results are sent, and the shutdown of torch would take seconds.
if "PYTEST_XDIST_WORKER" in os.environ:
    atexit.register(os._exit, 0)

# Always the same examples, and no deadline, since a busy machine is not a defect.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device; this machine has none")


def pytest_collection_finish() -> None:
    # Imported objects are permanent, so the garbage collector can ignore them.
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    # Without this, one of torch's libraries reports leaks when the process ends.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        gc.unfreeze()


# Heavy imports are within functions, because the process that only distributes tests imports this file, too.


@pytest.fixture(scope="session")
def params() -> Params:
    return PARAMS


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from stages.fetch import fetch

    data_dir = tmp_path_factory.mktemp("digits") / "MNIST"
    fetch("digits", data_dir)
    return data_dir


@pytest.fixture(scope="session")
def few_digits(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first digits, for trainings that need not learn: 275 training images."""
    data_dir = tmp_path_factory.mktemp("few") / "MNIST"
    train, test = (load_examples(digits_dir, split) for split in ("train", "test"))
    write_examples(
        data_dir, Examples(train.images[:305], train.labels[:305]), Examples(test.images[:50], test.labels[:50])
    )
    return data_dir


# Three projects, each built once for all test processes: `reproduced`, `toy_made` and `folder_made`. Tests must not
# change them; `project`, `toy` and `folder` are copies.


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """The pipeline after all stages ran on digits, committed."""
    from tests.faults.project import Project, shared

    def build(path: Path) -> None:
        # The recipe is arbitrary, but it must be fast.
        recipe = {"architecture": "cnn", "schedule": "one-cycle", "epochs": 3, "batch_size": 128, "lr": 0.005}
        project = Project.create(path, dataset="digits", val_fraction=0.75, **recipe)
        project.make()
        project.commit()
        # Every test then copies one file instead of hundreds.
        project.git("gc", "--quiet")

    return shared(tmp_path_factory, "reproduced", build)


@pytest.fixture(scope="session")
def toy_made(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """The same with stages that only write their outputs."""
    from tests.faults.project import Project, shared

    def build(path: Path) -> None:
        project = Project.create(path, dataset="digits", val_fraction=0.1)
        project.make_toy()
        project.repro()
        project.commit()
        project.git("gc", "--quiet")

    return shared(tmp_path_factory, "toy", build)


@pytest.fixture(scope="session")
def folder_made(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """Another pipeline with a single stage, which writes a folder."""
    from tests.faults.project import make_folder_project, shared

    return shared(tmp_path_factory, "folder", make_folder_project)


@pytest.fixture
def project(reproduced: "Project", tmp_path: Path) -> Iterator["Project"]:
    """A trained project. `dvc` forks; `run_stage` runs a stage in this process; `stage` runs one as DVC does."""
    project = reproduced.copy(tmp_path / "project")
    yield project
    project.clean_up()


@pytest.fixture
def toy(toy_made: "Project", tmp_path: Path) -> Iterator["Project"]:
    """A project with toy stages, all up to date; `hold` and `release` make a stage wait."""
    project = toy_made.copy(tmp_path / "toy")
    yield project
    project.clean_up()


@pytest.fixture
def folder(folder_made: "Project", tmp_path: Path) -> "Project":
    return folder_made.copy(tmp_path / "folder")


def random_examples(size: int, seed: int = 0) -> Examples:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
    return Examples(images, generator.permutation(np.arange(size) % 10).astype(np.uint8))


def random_probs(size: int, generator: np.random.Generator, sharpness: float = 3.0) -> np.ndarray:
    scores = np.exp(sharpness * generator.standard_normal((size, 10)))
    return scores / scores.sum(1, keepdims=True)
