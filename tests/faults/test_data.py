"""Data and models that stages reject, without leaving outputs behind."""

import multiprocessing
import pickle
import subprocess
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytorch_lightning import LightningModule, Trainer

from src.core.files import md5
from src.core.run import ReceiptFields
from src.guard import unused
from src.mnist.data.dataset import FILES, load_examples
from src.mnist.fetch import digits
from src.mnist.model.network import CalibratedModel, build_model
from src.mnist.model.weights import save_model
from src.mnist.train.checkpoint import Checkpoints
from stages.fetch import fetch
from tests.faults.project import Project, run_stage, wait_for
from tests.unit.mnist.fetch.test_download import Mirror, Request, hang

FORK = multiprocessing.get_context("fork")


def stall(request: Request) -> None:
    """Start to send a file, but never finish."""
    request.reply(b"\x1f\x8b" * 1000, 1_000_000)
    hang(request)


@pytest.mark.fault(26)
def test_killed_download_leaves_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mirror = Mirror(stall)
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    fetching = FORK.Process(target=fetch, args=("mnist", tmp_path / "MNIST", [mirror.url]))
    fetching.start()
    wait_for(lambda: mirror.requested, "the download to begin")
    fetching.kill()
    fetching.join()
    assert not (tmp_path / "MNIST").exists()
    mirror.closed.set()
    mirror.shutdown()


def fetch_often(folder: Path, together: Barrier) -> None:
    for _ in range(10):
        together.wait(10)
        fetch("digits", folder)


@pytest.mark.fault(27)
def test_concurrent_fetches_both_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Scaling the images takes longer than writing them.
    scaled = digits.digits_as_mnist()
    monkeypatch.setattr(digits, "digits_as_mnist", lambda: scaled)
    together = FORK.Barrier(2)
    both = [FORK.Process(target=fetch_often, args=(tmp_path / "MNIST", together)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(load_examples(tmp_path / "MNIST", "train").labels) == len(scaled["train"].labels)
    assert {path.name for path in (tmp_path / "MNIST/raw").iterdir()} == {
        name for pair in FILES.values() for name in pair
    }


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project as the current directory, for stages that run in this process."""
    monkeypatch.chdir(project.path)
    return project


@pytest.mark.fault(28, 38)
def test_flipped_byte_in_another_stages_output_is_rejected(here: Project, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = (f"data/MNIST/raw/{FILES[part][0]}" for part in ("train", "test"))
    model = "models/model.safetensors"
    for maker, name, stage in (("fetch", train, "train"), ("train", model, "evaluate"), ("fetch", test, "evaluate")):
        path = here.path / name
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
        assert run_stage(stage) == 1
        assert f"{name}: is not what stage {maker} wrote (md5 " in capsys.readouterr().err


@pytest.mark.fault(36)
def test_non_finite_loss_ends_training(here: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("models/model.safetensors", "metrics/train.json"):
        (here.path / name).unlink()
    here.set(lr=1e6, weight_decay=1.0)
    assert run_stage("train") == 1
    assert "loss is nan; lower lr" in capsys.readouterr().err
    assert not (here.path / "models/model.safetensors").exists()
    assert not (here.path / "metrics/train.json").exists()


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return open, ("pwned", "w")  # type: ignore[return-value]


def malicious(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def other_architecture(path: Path) -> None:
    save_model(path, CalibratedModel(build_model("resnet", 0), 1.0), "cnn")


# An attacker swaps a model, and forges its receipt and dvc.lock.
@pytest.mark.fault(37, 38)
@pytest.mark.parametrize("damage", [malicious, other_architecture])
def test_evaluate_rejects_invalid_models(
    here: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    model = here.path / "models/model.safetensors"
    before = md5(model)
    model.chmod(0o644)
    damage(model)
    for name in ("dvc.lock", "receipts/train.json"):
        text = (here.path / name).read_text()
        (here.path / name).write_text(text.replace(before, md5(model)))
    assert run_stage("evaluate") == 1
    assert "models/model.safetensors: is not a model of this pipeline" in capsys.readouterr().err
    assert not (here.path / "pwned").exists()


@pytest.mark.fault(89)
@pytest.mark.parametrize(("stage", "part"), [("train", "test"), ("evaluate", "train")])
def test_reading_an_undeclared_part_of_the_data_is_reported(
    here: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str, part: str
) -> None:
    def main(_: object) -> ReceiptFields:
        load_examples(Path("data/MNIST"), part)  # type: ignore[arg-type]
        return ReceiptFields()

    monkeypatch.setattr(unused, "import_module", lambda _: SimpleNamespace(main=main))
    before = here.results()
    assert run_stage(stage) == 1
    names = ", ".join(f"data/MNIST/raw/{name}" for name in sorted(FILES[part]))
    assert capsys.readouterr().err.startswith(f"{stage}: {names}: stage {stage} read it, but dvc.yaml does not list it")
    assert here.results() == before


@pytest.mark.fault(90)
@pytest.mark.parametrize("kind", [pytest.param("hardlink", marks=pytest.mark.slow), "symlink"])
def test_checkout_of_linked_data_does_not_end_training(
    here: Project, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    here.dvc_ok("config", "cache.type", kind)
    here.dvc_ok("checkout", "--relink")
    data = here.path / "data/MNIST/raw" / FILES["train"][0]
    assert data.is_symlink() or data.stat().st_nlink == 2
    changes: list[int] = []

    def write_and_relink(self: Checkpoints, trainer: Trainer, pl_module: LightningModule) -> None:
        write(self, trainer, pl_module)
        before = data.stat().st_ctime_ns
        subprocess.run(["ln", data.resolve(), here.path.with_name(f"elsewhere-{len(changes)}")], check=True)
        changes.append(data.stat().st_ctime_ns - before)

    write = Checkpoints.on_train_epoch_end
    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", write_and_relink)
    here.set(epochs=1)
    assert run_stage("train") == 0
    (moved,) = changes
    assert moved
