import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.data.dataset import load_examples
from src.mnist.predict.__main__ import main
from tests.faults.project import Project, called, refusal
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


def test_json_has_one_line_per_picture_including_unreadable_ones(model: str, picture: Path, bad: Path) -> None:
    inverted = picture.with_name("inverted.png")
    Image.eval(seven(), lambda value: 255 - value).save(inverted)
    paths = [bad, picture, inverted, picture]
    done = called(main, [*map(str, paths), "--json", "--model", model])
    error, first, second, third = answers = list(map(json.loads, done.stdout.splitlines()))
    assert [answer.pop("image") for answer in answers] == list(map(str, paths))
    assert error["error"].startswith(f"{bad}: is not a picture that can be read")
    assert refusal(done) == f"predict: {error['error']}\n"
    assert first == second == third
    assert first["digit"] in range(10)
    assert 0.1 <= first["confidence"] <= 1
    assert set(first) == {"digit", "confidence", "doubt"}


def test_table_omits_unreadable_pictures(
    model: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    done = called(main, [str(picture), "--model", model])
    assert (done.returncode, done.stderr) == (0, "")
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["image", "digit", "confidence", "doubt"]
    assert row.split()[0] == str(picture)
    assert row.split()[2].endswith("%")
    again = called(main, [str(tmp_path / "none.png"), str(picture), "--model", model])
    assert refusal(again) == f"predict: {tmp_path}/none.png: no such file\n"
    assert again.stdout == done.stdout


def test_doubtful_answer_has_a_reason(model: str, tmp_path: Path) -> None:
    comb = Image.new("L", (300, 300), 255)
    for left in range(50, 250, 45):
        comb.paste(0, (left, 50, left + 20, 250))
    comb.paste(0, (50, 50, 250, 70))
    comb.save(tmp_path / "comb.png")
    command = [str(tmp_path / "comb.png"), "--model", model]
    shown, answer = called(main, command), called(main, [*command, "--json"])
    assert (shown.returncode, answer.returncode) == (0, 0)
    reason = r"(has too many strokes for the digit \d|may be \d, \d, \d or no digit)"
    assert re.search(rf"\d%  +{reason} *\n", shown.stdout)
    assert re.fullmatch(reason, json.loads(answer.stdout)["doubt"])


def test_missing_model_is_reported(picture: Path, bad: Path) -> None:
    missing = picture.with_name("none")
    done = called(main, [str(bad), str(picture), "--model", str(missing)])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"predict: {bad}: is not a picture")
    assert done.stderr.endswith(f"predict: {missing}: is missing; run `dvc pull` or `dvc repro`\n")


def test_most_digits_of_the_test_set_are_recognised(model: str, reproduced: Project, tmp_path: Path) -> None:
    test = load_examples(reproduced.path / "data/MNIST", "test")
    for number, image in enumerate(test.images[:50]):
        # Dark on light, enlarged five times, off-centre.
        page = np.pad(255 - np.kron(image, np.ones((5, 5), np.uint8)), ((0, 60), (40, 0)), constant_values=255)
        Image.fromarray(page).save(tmp_path / f"{number}.png")
    done = called(main, [*(str(tmp_path / f"{number}.png") for number in range(50)), "--json", "--model", model])
    digits = [json.loads(line)["digit"] for line in done.stdout.splitlines()]
    assert np.mean(np.array(digits) == test.labels[:50]) > 0.5
