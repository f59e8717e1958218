import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.data.dataset import load_examples
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


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "bad.png").write_bytes(b"text")
    return tmp_path / "bad.png"


def test_json_has_one_line_per_picture_including_unreadable_ones(
    model: str, picture: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inverted = picture.with_name("inverted.png")
    Image.eval(seven(), lambda value: 255 - value).save(inverted)
    paths = [bad, picture, inverted, picture]
    assert main([*map(str, paths), "--json", "--model", model]) == 1
    printed = capsys.readouterr()
    error, first, second, third = answers = list(map(json.loads, printed.out.splitlines()))
    assert [answer.pop("image") for answer in answers] == list(map(str, paths))
    assert error["error"].startswith(f"{bad}: is not a picture that can be read")
    assert printed.err == f"predict: {error['error']}\n"
    assert first == second == third
    assert first["digit"] in range(10)
    assert 0.1 <= first["confidence"] <= 1
    assert set(first) == {"digit", "confidence", "doubt"}


def test_table_omits_unreadable_pictures(
    model: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([str(picture), "--model", model]) == 0
    heading, row = printed = capsys.readouterr().out.splitlines()
    assert heading.split() == ["image", "digit", "confidence", "doubt"]
    assert row.split()[0] == str(picture)
    assert row.split()[2].endswith("%")
    assert main([str(tmp_path / "none.png"), str(picture), "--model", model]) == 1
    assert capsys.readouterr() == ("\n".join([*printed, ""]), f"predict: {tmp_path}/none.png: no such file\n")


def test_doubtful_answer_has_a_reason(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comb = Image.new("L", (300, 300), 255)
    for left in range(50, 250, 45):
        comb.paste(0, (left, 50, left + 20, 250))
    comb.paste(0, (50, 50, 250, 70))
    comb.save(tmp_path / "comb.png")
    command = [str(tmp_path / "comb.png"), "--model", model]
    assert main(command) == 0
    reason = r"(has too many strokes for the digit \d|may be \d, \d, \d or no digit)"
    assert re.search(rf"\d%  +{reason} *\n", capsys.readouterr().out)
    assert main([*command, "--json"]) == 0
    assert re.fullmatch(reason, json.loads(capsys.readouterr().out)["doubt"])


def test_missing_model_is_reported(picture: Path, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = picture.with_name("none")
    assert main([str(bad), str(picture), "--model", str(missing)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"predict: {bad}: is not a picture")
    assert printed.err.endswith(f"predict: {missing}: is missing; run `dvc pull` or `dvc repro`\n")


def test_most_digits_of_the_test_set_are_recognised(
    model: str, reproduced: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = load_examples(reproduced.path / "data/MNIST", "test")
    for number, image in enumerate(test.images[:50]):
        # Dark on light, enlarged five times, off-centre.
        page = np.pad(255 - np.kron(image, np.ones((5, 5), np.uint8)), ((0, 60), (40, 0)), constant_values=255)
        Image.fromarray(page).save(tmp_path / f"{number}.png")
    main([str(tmp_path / f"{number}.png") for number in range(50)] + ["--json", "--model", model])
    digits = [json.loads(line)["digit"] for line in capsys.readouterr().out.splitlines()]
    assert np.mean(np.array(digits) == test.labels[:50]) > 0.5
