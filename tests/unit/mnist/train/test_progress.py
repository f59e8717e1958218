import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from rich.console import Console

from src.mnist.model.scores import HEADINGS
from src.mnist.train import progress
from src.mnist.train.classifier import Classifier
from src.mnist.train.history import History
from src.mnist.train.progress import ProgressTable, format_row
from tests.unit.mnist.train.fitting import BATCHES, Stop, fit

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Run = Callable[..., tuple[str, list[dict[str, float]]]]


class Refreshing(ProgressTable):
    """Draws after each batch instead of ten times a second."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.bar.refresh()


@pytest.fixture(autouse=True)
def only_the_scores_that_both_parts_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(HEADINGS)[5:]:
        monkeypatch.delitem(HEADINGS, name)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Train, check that the bar is removed at the end, and return the output and the history."""

    def run(
        is_terminal: bool = False,
        outputs: tuple[Path, ...] = (),
        stop: Stop | None = None,
        rows: tuple[dict[str, float], ...] = (),
        epochs: int = 3,
    ) -> tuple[str, list[dict[str, float]]]:
        file, history = io.StringIO(), History(tmp_path / "history.csv")
        console = Console(file=file, force_terminal=is_terminal, width=100, highlight=False, soft_wrap=True)
        history.rows += rows
        table = Refreshing(history, outputs, console)
        try:
            fit(history, table, *([stop] if stop else []), epochs=epochs)
        except BaseException as error:
            if stop is None or error is not stop.exception:
                raise
        assert not table.bar.live.is_started
        return file.getvalue(), history.rows

    return run


def assert_rows(lines: list[str], rows: list[dict[str, float]]) -> None:
    names = [prefix + name for prefix in ("", "val_") for name in HEADINGS]
    for line, row in zip(lines, rows, strict=True):
        number, seconds, *values = line.split()
        assert int(number) == row["epoch"]
        assert re.fullmatch(r"\d+\.\d", seconds)
        assert [float(value) for value in values] == pytest.approx([row[name] for name in names], abs=5.1e-5)


def test_rows_are_aligned_under_their_headings_without_a_terminal(run: Run) -> None:
    printed, history = run()
    groups, headings, *rows = printed.splitlines()
    assert_rows(rows, history)
    ends = [match.end() for match in re.finditer(r"\S+", headings)]
    assert all([match.end() for match in re.finditer(r"\S+", row)] == ends for row in rows)
    first_of_validation = ends[2 + len(HEADINGS)] - len("loss")
    assert groups.index("train") < first_of_validation - 7 < groups.index("validation") <= first_of_validation
    assert len(headings) == 10 + 2 * 7 * len(HEADINGS)
    assert "\x1b" not in printed
    assert "%" not in printed


@pytest.mark.parametrize("added", [1, 4])
def test_more_scores_fit_into_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch, added: int) -> None:
    for number in range(added):
        monkeypatch.setitem(HEADINGS, f"added_{number}", f"extra{number}")
    groups, headings, *rows = run(rows=({"epoch": 1, "val_loss": 0.25, "val_added_0": 0.125},), epochs=1)[
        0
    ].splitlines()
    assert {len(line) for line in (headings, *rows)} == {80}
    cells = dict(zip(reversed(headings.split()), reversed(rows[0].split()), strict=True))
    assert (cells["extra0"], headings.count("extra")) == ("0.1250", added)
    assert headings.rindex("loss") - 7 < groups.index("validation") <= headings.rindex("loss")


def test_terminal_shows_progress_and_loss_and_keeps_the_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOSS_SECONDS", 0.0)
    monkeypatch.setattr(Classifier, "running_loss", lambda _: torch.tensor(0.125))
    printed, history = run(is_terminal=True, epochs=2)
    text = CONTROL.sub("", printed)
    for epoch in (1, 2):
        shown = re.findall(rf"epoch {epoch}/2.*?(\d+)% loss 0\.1250", text)
        assert list(dict.fromkeys(shown)) == [str(100 * (batch + 1) // BATCHES) for batch in range(BATCHES)]
    assert_rows([line for line in re.split(r"[\r\n]+", text) if re.match(r" +\d+ +\d+\.\d ", line)], history)
    assert printed.endswith("\x1b[2K")


def test_interrupted_training_prints_how_to_resume_and_missing_outputs(run: Run, tmp_path: Path) -> None:
    there, gone = tmp_path / "there", (tmp_path / "a", tmp_path / "b")
    there.touch()
    said = run(outputs=(there, *gone), stop=Stop(3, SystemExit(130)))[0].splitlines()[-1]
    assert said == f"Stopped: run the same command to resume after epoch 2. Missing until then: {gone[0]}, {gone[1]}."
    assert "to start again: no epoch was done. Missing" in run(outputs=gone, stop=Stop(1, SystemExit(130)))[0]


def test_resume_hint_is_omitted_after_errors_and_without_checkpoints(run: Run, tmp_path: Path) -> None:
    assert "Stopped" not in run(stop=Stop(3, SystemExit(130)))[0]
    assert "Stopped" not in run(True, (tmp_path / "a",), Stop(2, RuntimeError("the network broke")))[0]


def test_missing_score_is_shown_as_a_dash() -> None:
    cells = format_row({"epoch": 1, "loss": 0.9, "val_acc": 0.6}, 1.0).split()[2:]
    assert cells == ["0.9000", *["-"] * len(HEADINGS), "0.6000", *["-"] * (len(HEADINGS) - 2)]


def test_rows_before_a_resume_are_printed_again(run: Run) -> None:
    lines = run(rows=({"epoch": 1, "loss": 0.25},), epochs=1)[0].splitlines()
    assert lines[2].split()[:3] == ["1", "-", "0.2500"]
    assert len(lines) == 4


@pytest.mark.parametrize(("seconds", "shown"), [(0.04, "0.0"), (99.94, "99.9"), (99.96, "100"), (9999, "9999")])
def test_epoch_number_and_time_do_not_touch(seconds: float, shown: str) -> None:
    assert format_row({"epoch": 10, "loss": 2.302585}, seconds).split()[:3] == ["10", shown, "2.3026"]
    assert format_row({"epoch": 10, "loss": 12.345678, "acc": 0.5}, seconds).split()[1:4] == [shown, "12.3", "0.5000"]
