import gzip
import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

import stages.fetch
from src.core.errors import UserError
from src.core.run import Run
from src.mnist.data.dataset import FILES, Examples, load_examples, raw_folder
from src.mnist.data.idx import write_idx
from src.mnist.fetch.digits import digits_as_mnist
from src.mnist.fetch.download import ORIGINALS, Original
from stages.fetch import fetch, main
from tests.conftest import random_examples

TRAIN, TEST = random_examples(40, seed=1), random_examples(15, seed=2)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    for names, split in zip(FILES.values(), (TRAIN, TEST), strict=True):
        for name, array in zip(names, (split.images, split.labels), strict=True):
            write_idx(tmp_path / name, array)
            (folder / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    return folder


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MNIST_MIRROR", raising=False)
    return folder


def originals(mirror: Path) -> dict[str, Original]:
    contents = {path.name: path.read_bytes() for path in mirror.iterdir()}
    return {name: Original(hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()}


def assert_equal(read: Examples, expected: Examples) -> None:
    np.testing.assert_array_equal(read.images, expected.images)
    np.testing.assert_array_equal(read.labels, expected.labels)


@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_fetch_writes_exactly_four_files(tmp_path: Path, mirror: Path, dataset: str) -> None:
    expected = {"mnist": {"train": TRAIN, "test": TEST}, "digits": digits_as_mnist()}[dataset]
    fetch(dataset, tmp_path / "MNIST", [str(mirror)] if dataset == "mnist" else [], originals(mirror))
    assert_equal(load_examples(tmp_path / "MNIST", "train"), expected["train"])
    assert_equal(load_examples(tmp_path / "MNIST", "test"), expected["test"])
    assert {path.name for path in raw_folder(tmp_path / "MNIST").iterdir()} == {*FILES["train"], *FILES["test"]}
    assert [path.name for path in (tmp_path / "MNIST").iterdir()] == ["raw"]


def test_nothing_is_written_if_a_file_is_missing_or_not_original(tmp_path: Path, mirror: Path) -> None:
    expected = originals(mirror)
    (mirror / "t10k-labels-idx1-ubyte.gz").unlink()
    for known, said in ((expected, r"No such file .*t10k-labels-idx1-ubyte.gz"), (ORIGINALS, "wrong SHA-256")):
        with pytest.raises(UserError, match=said):
            fetch("mnist", tmp_path / "MNIST", [str(mirror)], known)
        assert not (tmp_path / "MNIST").exists()


def test_main_fetches_the_dataset_of_params(no_data: Path) -> None:
    main(Run({"dataset": "digits"}))
    assert len(load_examples(no_data / "data/MNIST", "test").labels) == 360


def test_main_lists_every_mirror_in_one_line_custom_one_first(
    no_data: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_MIRROR", str(mirror))
    monkeypatch.setattr(stages.fetch, "MIRRORS", [str(no_data / "nowhere")])
    with pytest.raises(UserError) as caught:
        main(Run({"dataset": "mnist"}))
    message = str(caught.value)
    assert message.startswith(f"MNIST could not be downloaded from any mirror: {mirror} (wrong SHA-256")
    assert f"{no_data}/nowhere ([Errno 2] No such file" in message
    assert "\n" not in message


def test_unknown_dataset_is_rejected(no_data: Path) -> None:
    with pytest.raises(UserError, match="got 'cifar'"):
        main(Run({"dataset": "cifar"}))
    assert not (no_data / "data").exists()


@pytest.mark.fault(39)
def test_data_set_that_is_drawn_is_the_same_on_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    monkeypatch.setitem(stages.fetch.WRITERS, "drawn", lambda *_: drawn.append(random.random() + np.random.random()))
    for _ in range(2):
        fetch("drawn", tmp_path)
    assert drawn[0] == drawn[1]
