import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console

from src.mnist.train import progress
from src.mnist.train.history import History
from src.mnist.train.progress import ProgressTable, format_row, header
from tests.unit.mnist.train.boring import BATCHES, SCORES, Boring, fit

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Refreshing(ProgressTable):
    """Draws after each batch instead of ten times a second."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.bar.refresh()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., ProgressTable]:
    """Fit a module with a history and a table of it."""

    def run(
        console: Console,
        make: type[ProgressTable] = ProgressTable,
        outputs: list[Path] = [],  # noqa: B006 - not changed
        callbacks: list[Callback] = [],  # noqa: B006 - not changed
        rows: list[dict[str, float]] = [],  # noqa: B006 - not changed
        **options: Any,
    ) -> ProgressTable:
        history = History(tmp_path / "history.csv")
        history.rows += rows
        table = make(history, lambda: torch.tensor(0.125), outputs, console)
        fit(history, table, *callbacks, **options)
        return table

    return run


def plain_console() -> Console:
    return Console(file=io.StringIO(), highlight=False, soft_wrap=True)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False, soft_wrap=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def assert_rows(lines: list[str]) -> None:
    for epoch, line in enumerate(lines):
        number, seconds, *values = line.split()
        assert int(number) == epoch + 1
        assert re.fullmatch(r"\d+\.\d", seconds)
        names = [name for name in SCORES if name != "lr"]
        assert [float(value) for value in values] == pytest.approx([SCORES[name][epoch] for name in names], abs=5.1e-5)


def test_without_a_terminal_there_are_plain_rows_only(run: Any) -> None:
    console = plain_console()
    run(console)
    lines = written(console).splitlines()
    assert lines[:2] == header()
    assert len(lines) == 2 + 3
    assert_rows(lines[2:])
    assert "\x1b" not in written(console)
    assert "%" not in written(console)


def test_rows_are_aligned_under_their_headings(run: Any) -> None:
    console = plain_console()
    run(console)
    groups, headings, *rows = written(console).splitlines()
    ends = [match.end() for match in re.finditer(r"\S+", headings)]
    starts = [match.start() for match in re.finditer(r"\S+", headings)]
    first_of_validation = starts[2 + len(ends[2:]) // 2]
    assert groups.index("train") < first_of_validation - 7 < groups.index("validation") <= first_of_validation
    assert all([match.end() for match in re.finditer(r"\S+", row)] == ends for row in rows)
    assert len(headings) <= 80


def test_a_terminal_shows_the_percentage_of_the_running_epoch(run: Any) -> None:
    console = terminal()
    run(console, Refreshing, epochs=2)
    text = CONTROL.sub("", written(console))
    for epoch in (1, 2):
        shown = re.findall(rf"epoch {epoch}/2.*?(\d+)%", text)
        expected = [str(100 * (batch + 1) // BATCHES) for batch in range(BATCHES)]
        assert [percentage for percentage in dict.fromkeys(shown) if percentage != "0"] == expected


def test_a_terminal_keeps_the_rows_and_loses_the_bar(run: Any) -> None:
    console = terminal()
    table = run(console, epochs=2)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", written(console))) if line.strip()]
    assert_rows([line for line in lines if re.match(r" +\d+ +\d+\.\d ", line)])
    assert table.bar.live.is_started is False
    assert written(console).endswith("\x1b[2K")


def test_the_bar_is_gone_after_a_failure(run: Any) -> None:
    made: list[ProgressTable] = []

    class Kept(ProgressTable):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    console = terminal()
    with pytest.raises(RuntimeError, match="the network broke"):
        run(console, Kept, module=Boring(fail_in_epoch=2))
    assert [table.bar.live.is_started for table in made] == [False]
    assert "Stopped" not in written(console)


class Stop(Callback):
    """Ends training in the middle of an epoch, as the handler of a signal does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch + 1, batch_idx) == (self.epoch, 1):
            raise SystemExit(130)


def test_who_stops_a_training_is_told_how_to_go_on_and_what_is_gone(run: Any, tmp_path: Path) -> None:
    console, there, gone = plain_console(), tmp_path / "there", [tmp_path / "a", tmp_path / "b"]
    there.touch()
    with pytest.raises(SystemExit):
        run(console, outputs=[there, *gone], callbacks=[Stop(epoch=3)])
    assert written(console).splitlines()[-1] == (
        f"Stopped: run the same command to resume after epoch 2; until then, {gone[0]}, {gone[1]} are gone."
    )


def test_who_stops_a_training_in_its_first_epoch_has_nothing_to_resume(run: Any, tmp_path: Path) -> None:
    console = plain_console()
    with pytest.raises(SystemExit):
        run(console, outputs=[tmp_path / "a"], callbacks=[Stop(epoch=1)])
    assert "to start again: no epoch was done; until then," in written(console)


def test_a_training_that_cannot_be_resumed_promises_nothing(run: Any) -> None:
    console = plain_console()
    with pytest.raises(SystemExit):
        run(console, callbacks=[Stop(epoch=3)])
    assert "Stopped" not in written(console)


def test_a_terminal_shows_the_running_loss(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOSS_SECONDS", 0.0)
    console = terminal()
    run(console, Refreshing, epochs=1)
    shown = re.findall(r"(\d+)% loss 0\.1250", CONTROL.sub("", written(console)))
    assert list(dict.fromkeys(shown)) == [str(100 * (batch + 1) // BATCHES) for batch in range(BATCHES)]


def test_a_score_that_was_not_logged_shows_as_a_dash(run: Any) -> None:
    console = plain_console()
    run(console, epochs=1, module=Boring({"loss", "val_acc"}))
    assert written(console).splitlines()[-1].split()[2:] == ["0.9000", *["-"] * 5, "0.6000", *["-"] * 3]


def test_the_rows_before_a_resume_are_shown_again(run: Any) -> None:
    console = plain_console()
    run(console, rows=[{"epoch": 1, "loss": 0.25}], epochs=1)
    lines = written(console).splitlines()
    assert lines[2].split()[:3] == ["1", "-", "0.2500"]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0"), (99.94, "99.9"), (99.96, "100"), (123.45, "123"), (9999, "9999")]
)
def test_an_epochs_time_stays_apart_from_its_number(seconds: float, shown: str) -> None:
    assert format_row({"epoch": 10, "loss": 2.302585}, seconds).split()[:3] == ["10", shown, "2.3026"]
