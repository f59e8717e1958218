import contextlib
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import src.mnist.export.__main__
import src.mnist.export.onnx_model
from src.core.errors import UserError
from src.core.files import md5
from src.mnist.data.dataset import DATA_DIR, write_examples
from src.mnist.export.__main__ import TARGET, export
from src.mnist.export.onnx_model import OPSET, TOLERANCE, max_difference, run_onnx, to_onnx
from src.mnist.model.network import CalibratedModel, build_model
from src.mnist.model.weights import MODEL_PATH, save_model
from tests.conftest import REPOSITORY, random_examples

EXAMPLES = random_examples(50)


def untrained(architecture: str, temperature: float = 0.5) -> CalibratedModel:
    return CalibratedModel(build_model(architecture, seed=0), temperature)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an exported model."""
    folder = tmp_path_factory.mktemp("exported")
    save_model(folder / MODEL_PATH, untrained("cnn"), "cnn")
    write_examples(folder / DATA_DIR, random_examples(10), EXAMPLES)
    with contextlib.chdir(folder):
        export()
    return folder


def test_exported_file_matches_torch_and_has_metadata(folder: Path) -> None:
    content = (folder / TARGET).read_bytes()
    # The batch size is dynamic.
    probabilities = run_onnx(content, EXAMPLES.images[:1])
    assert probabilities.shape == (1, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    model = onnx.load_from_string(content)
    assert [entry.version for entry in model.opset_import] == [OPSET]
    expected = {"temperature": "0.5", "model_md5": md5(folder / MODEL_PATH)}
    assert {entry.key: entry.value for entry in model.metadata_props} == expected
    assert "grey values" in model.doc_string
    assert str(REPOSITORY).encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["small", "ensemble"])
def test_export_of_every_architecture_matches_torch(architecture: str) -> None:
    model = untrained(architecture)
    assert max_difference(model, to_onnx(model, {}), EXAMPLES.images) <= TOLERANCE


@pytest.mark.parametrize("temperature", [0.6, float("nan")])
def test_model_that_computes_something_else_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "again"))
    monkeypatch.setattr(src.mnist.export.onnx_model, "to_onnx", lambda *_: (folder / TARGET).read_bytes())
    monkeypatch.setattr(src.mnist.export.__main__, "load_model", lambda _: untrained("cnn", temperature))
    with pytest.raises(
        UserError, match=r"^models/model\.onnx: on 50 test images, .*, expected 1e-05; install the versi"
    ):
        export()
    assert not TARGET.exists()


def test_export_is_deterministic(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "again"))
    export()
    assert TARGET.read_bytes() == (folder / TARGET).read_bytes()


def test_missing_model_is_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export"])
    said = r"^export: models/model\.safetensors: is missing; run `dvc pull` or `dvc repro`$"
    with pytest.raises(SystemExit, match=said):
        runpy.run_path(str(REPOSITORY / "src/mnist/export/__main__.py"), run_name="__main__")
    assert list(tmp_path.iterdir()) == []
