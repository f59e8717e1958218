import pytest

from src.mnist.train.callbacks.recorder import EpochRecorder
from tests.unit.mnist.train.callbacks.boring import Boring, approx_rows, fit


def test_there_is_a_row_an_epoch_with_every_logged_value() -> None:
    recorder = EpochRecorder()
    fit(recorder)
    assert recorder.rows == [pytest.approx(row, rel=1e-6) for row in approx_rows(3)]


def test_an_epoch_that_did_not_end_has_no_row() -> None:
    recorder = EpochRecorder()
    with pytest.raises(RuntimeError, match="the network broke"):
        fit(recorder, module=Boring(fail_in_epoch=3))
    assert [row["epoch"] for row in recorder.rows] == [1, 2]


def test_rows_go_on_after_a_resume() -> None:
    first, second = EpochRecorder(), EpochRecorder()
    fit(first, epochs=2)
    second.load_state_dict(first.state_dict())
    assert second.rows == first.rows
    second.rows.append({"epoch": 3})
    assert len(first.rows) == 2
