import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.data.dataset import FILES, raw_folder
from src.mnist.data.idx import read_idx
from src.mnist.predict.__main__ import main
from tests.faults.project import Project
from tests.unit.mnist.predict.test_images import seven


@pytest.fixture
def model(reproduced: Project) -> str:
    return str(reproduced.path / "models/model.safetensors")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    seven().save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


def test_each_picture_is_a_line_of_json(model: str, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inverted = picture.with_name("inverted.png")
    Image.eval(seven(), lambda value: 255 - value).save(inverted)
    assert main([str(picture), str(inverted), "--json", "--model", model]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first.pop("image") == str(picture)
    assert second.pop("image") == str(inverted)
    assert first == second
    assert first["digit"] in range(10)
    assert 0.1 <= first["confidence"] <= 1


def test_people_get_a_table(
    model: str, picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([str(picture), "--model", model]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["image", "digit", "confidence"]
    assert row.split()[0] == str(picture)
    assert row.split()[2].endswith("%")


def test_what_cannot_be_read_is_named_and_the_others_are_answered(
    model: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    assert main([str(bad), str(picture), str(picture), "--json", "--model", model]) == 1
    printed = capsys.readouterr()
    first, second, third = map(json.loads, printed.out.splitlines())
    assert first["image"] == str(bad)
    assert first["error"].startswith(f"{bad}: is not a picture that can be read")
    assert second == third
    assert second["image"] == str(picture)
    assert printed.err.startswith(f"predict: {bad}: is not a picture that can be read")
    assert printed.err.count("\n") == 1


def test_the_table_leaves_out_what_cannot_be_read(
    model: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([str(tmp_path / "none.png"), str(picture), "--model", model]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"predict: {tmp_path}/none.png: no such file\n"
    assert "none.png" not in printed.out
    assert str(picture) in printed.out


def test_a_missing_model_is_named(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(picture), "--model", str(tmp_path / "none")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"predict: {tmp_path}/none: is missing; run `dvc checkout` or `dvc repro`\n"


def test_the_digits_of_the_test_set_are_mostly_right(
    model: str, reproduced: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = (read_idx(raw_folder(reproduced.path / "data/MNIST") / name)[:50] for name in FILES["test"])
    for number, image in enumerate(images):
        # Dark on light, five times the size, off the middle.
        page = np.pad(255 - np.kron(image, np.ones((5, 5), np.uint8)), ((0, 60), (40, 0)), constant_values=255)
        Image.fromarray(page).save(tmp_path / f"{number}.png")
    main([str(tmp_path / f"{number}.png") for number in range(50)] + ["--json", "--model", model])
    digits = [json.loads(line)["digit"] for line in capsys.readouterr().out.splitlines()]
    assert np.mean(np.array(digits) == labels) > 0.5
