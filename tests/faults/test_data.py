"""Data and models that stages reject, without leaving outputs behind."""

import multiprocessing
import pickle
import subprocess
import tempfile
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from pytorch_lightning import LightningModule, Trainer

from src.core.files import md5
from src.core.run import ReceiptFields
from src.mnist.data.dataset import FILES, load_examples
from src.mnist.fetch import digits
from src.mnist.model.network import CalibratedModel, build_model
from src.mnist.model.weights import save_model
from src.mnist.train.checkpoint import Checkpoints
from stages.fetch import fetch
from tests.faults.project import Project, refusal, wait_for
from tests.unit.mnist.model.test_network import Marker
from tests.unit.server import Request, Server

FORK = multiprocessing.get_context("fork")


def stall(request: Request) -> None:
    """Start to send a file, but never finish."""
    request.reply(b"\x1f\x8b" * 1000, 1_000_000)
    request.server.closed.wait()


@pytest.mark.fault(26)
def test_killed_download_leaves_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mirror = Server(stall)
    fetching = FORK.Process(target=fetch, args=("mnist", tmp_path / "MNIST", [mirror.url]))
    fetching.start()
    wait_for(lambda: mirror.requested, "the download to begin")
    fetching.kill()
    fetching.join()
    assert not (tmp_path / "MNIST").exists()
    mirror.end()


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


@pytest.mark.fault(28, 38)
def test_flipped_byte_in_another_stages_output_is_rejected(project: Project) -> None:
    train, test = (f"data/MNIST/raw/{FILES[part][0]}" for part in ("train", "test"))
    model = "models/model.safetensors"
    for maker, name, stage in (("fetch", train, "train"), ("train", model, "evaluate"), ("fetch", test, "evaluate")):
        path = project.path / name
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
        assert f"{name}: is not what stage {maker} wrote (md5 " in refusal(project.here(stage))


@pytest.mark.fault(36)
def test_non_finite_loss_ends_training(project: Project) -> None:
    outputs = [project.path / name for name in ("models/model.safetensors", "metrics/train.json")]
    for path in outputs:
        path.unlink()
    project.set(lr=1e6, weight_decay=1.0)
    assert "loss is nan; lower lr" in refusal(project.here("train"))
    assert not any(path.exists() for path in outputs)


def malicious(path: Path) -> None:
    path.write_bytes(pickle.dumps(Marker(path.with_name("pwned"))))


def other_architecture(path: Path) -> None:
    save_model(path, CalibratedModel(build_model("resnet", 0), 1.0), "cnn")


# An attacker swaps a model, and forges its receipt and dvc.lock.
@pytest.mark.fault(37, 38)
@pytest.mark.parametrize("damage", [malicious, other_architecture])
def test_evaluate_rejects_invalid_models(project: Project, damage: Callable[[Path], None]) -> None:
    model = project.path / "models/model.safetensors"
    before = md5(model)
    model.chmod(0o644)
    damage(model)
    for name in ("dvc.lock", "receipts/train.json"):
        text = (project.path / name).read_text()
        (project.path / name).write_text(text.replace(before, md5(model)))
    done = project.here("evaluate", TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert "models/model.safetensors: is not a model of this pipeline" in refusal(done)
    assert not model.with_name("pwned").exists()


@pytest.mark.fault(89)
@pytest.mark.parametrize(("stage", "part"), [("train", "test"), ("evaluate", "train")])
def test_reading_an_undeclared_part_of_the_data_is_reported(project: Project, stage: str, part: str) -> None:
    def main(_: object) -> ReceiptFields:
        load_examples(Path("data/MNIST"), part)  # type: ignore[arg-type]
        return ReceiptFields()

    before = project.results()
    said = refusal(project.here(stage, main))
    names = ", ".join(f"data/MNIST/raw/{name}" for name in sorted(FILES[part]))
    assert said.startswith(f"{stage}: {names}: stage {stage} read it, but dvc.yaml does not list it")
    assert project.results() == before


@pytest.mark.fault(90)
@pytest.mark.parametrize("kind", [pytest.param("hardlink", marks=pytest.mark.slow), "symlink"])
def test_checkout_of_linked_data_does_not_end_training(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    project.dvc_ok("config", "cache.type", kind)
    project.dvc_ok("checkout", "--relink")
    data = project.path / "data/MNIST/raw" / FILES["train"][0]
    assert data.is_symlink() or data.stat().st_nlink == 2
    changes: list[int] = []

    def write_and_relink(self: Checkpoints, trainer: Trainer, pl_module: LightningModule) -> None:
        write(self, trainer, pl_module)
        before = data.stat().st_ctime_ns
        subprocess.run(["ln", data.resolve(), project.path.with_name(f"elsewhere-{len(changes)}")], check=True)
        changes.append(data.stat().st_ctime_ns - before)

    write = Checkpoints.on_train_epoch_end
    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", write_and_relink)
    project.set(epochs=1)
    assert project.here("train").returncode == 0
    (moved,) = changes
    assert moved
