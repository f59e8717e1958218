from pathlib import Path

import pytest
from PIL import Image

from src.train.callbacks.learning_curve import LearningCurve
from src.train.learning_curve import draw_learning_curve
from tests.train.callbacks.boring import Boring, approx_rows, fit


def test_the_picture_shows_every_epoch(tmp_path: Path) -> None:
    fit(LearningCurve(tmp_path / "plots" / "curve.png"))
    draw_learning_curve(approx_rows(3), tmp_path / "expected.png")
    assert (tmp_path / "plots" / "curve.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_a_failure_leaves_no_picture(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the network broke"):
        fit(LearningCurve(tmp_path / "curve.png"), module=Boring(fail_in_epoch=2))
    assert list(tmp_path.iterdir()) == []


def test_scores_that_were_not_logged_are_left_out(tmp_path: Path) -> None:
    fit(LearningCurve(tmp_path / "curve.png"), module=Boring({"loss", "acc", "f1"}))
    with Image.open(tmp_path / "curve.png") as image:
        assert image.format == "PNG"
