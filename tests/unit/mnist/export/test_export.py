import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import src.mnist.export.onnx_model
from src.mnist.export.__main__ import main
from src.mnist.export.onnx_model import OPSET, TOLERANCE, compare, run_onnx, to_onnx
from src.mnist.model.network import CalibratedModel, build_model
from tests.conftest import random_examples
from tests.faults.project import Project

IMAGES = random_examples(50).images
NAMES = ("cnn", "small", "resnet")


def untrained(architecture: str, temperature: float = 0.5) -> CalibratedModel:
    return CalibratedModel(build_model(architecture, seed=0), temperature)


@pytest.fixture(scope="module")
def exported() -> dict[str, bytes]:
    return {name: to_onnx(untrained(name), {"model_sha256": "abc"}) for name in NAMES}


@pytest.mark.parametrize("architecture", NAMES)
def test_onnx_computes_what_torch_computes(architecture: str, exported: dict[str, bytes]) -> None:
    found = compare(untrained(architecture), exported[architecture], IMAGES)
    assert found["images"] == 50
    assert found["max_difference"] <= TOLERANCE
    assert found["changed_predictions"] == []
    assert found["equal"]
    # For any number of images.
    probabilities = run_onnx(exported[architecture], IMAGES[:1])
    assert probabilities.shape == (1, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_another_model_is_found_out_and_its_changed_predictions_are_listed(exported: dict[str, bytes]) -> None:
    found = compare(untrained("cnn", temperature=0.6), exported["cnn"], IMAGES)
    assert found["max_difference"] > TOLERANCE
    assert not found["equal"]
    assert not found["changed_predictions"]
    found = compare(CalibratedModel(build_model("cnn", seed=1), 0.5), exported["cnn"], IMAGES)
    theirs = run_onnx(exported["cnn"], IMAGES).argmax(1)
    assert found["changed_predictions"]
    for row in found["changed_predictions"]:
        assert row["torch"] != row["onnx"] == theirs[row["index"]]


def test_the_file_says_what_it_is(exported: dict[str, bytes]) -> None:
    model = onnx.load_from_string(exported["cnn"])
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"temperature": "0.5", "model_sha256": "abc"}
    assert "grey values" in model.doc_string


def test_the_command_writes_the_model_and_the_comparison_the_same_again(
    reproduced: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(reproduced.path / "models/model.safetensors", tmp_path)
    command = ["--model", str(tmp_path / "model.safetensors"), "--data", str(reproduced.path / "data/MNIST")]
    assert main(command) == 0
    assert "predictions of 0" in capsys.readouterr().out
    found = json.loads((tmp_path / "model.onnx.json").read_text())
    assert found["images"] == 360
    assert found["equal"]
    content = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(src.mnist.export.__file__).parents[3]).encode() not in content
    # Nothing agrees to the last bit, so no tolerance means that the command fails.
    monkeypatch.setattr(src.mnist.export.onnx_model, "TOLERANCE", 0.0)
    assert main(command) == 1
    assert "do not use" in capsys.readouterr().err
    assert (tmp_path / "model.onnx").read_bytes() == content


def test_a_missing_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "model.safetensors")]) == 1
    assert (
        capsys.readouterr().err
        == f"export: {tmp_path}/model.safetensors: is missing; run `dvc checkout` or `dvc repro`\n"
    )
    assert list(tmp_path.iterdir()) == []
