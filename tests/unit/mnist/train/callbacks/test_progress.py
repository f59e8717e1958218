import io
import re
from typing import Any

import pytest
from pytorch_lightning import LightningModule, Trainer
from rich.console import Console

from src.mnist.train.callbacks.progress import ProgressTable, format_row, header
from tests.unit.mnist.train.callbacks.boring import BATCHES, SCORES, Boring, fit

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Refreshing(ProgressTable):
    """Draws after each batch instead of ten times a second."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.bar.refresh()


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


def test_without_a_terminal_there_are_plain_rows_only() -> None:
    console = plain_console()
    fit(ProgressTable(console))
    lines = written(console).splitlines()
    assert lines[:2] == header()
    assert len(lines) == 2 + 3
    assert_rows(lines[2:])
    assert "\x1b" not in written(console)
    assert "%" not in written(console)


def test_rows_are_aligned_under_their_headings() -> None:
    console = plain_console()
    fit(ProgressTable(console))
    groups, headings, *rows = written(console).splitlines()
    ends = [match.end() for match in re.finditer(r"\S+", headings)]
    starts = [match.start() for match in re.finditer(r"\S+", headings)]
    first_of_validation = starts[2 + len(ends[2:]) // 2]
    assert groups.index("train") < first_of_validation - 7 < groups.index("validation") <= first_of_validation
    assert all([match.end() for match in re.finditer(r"\S+", row)] == ends for row in rows)
    assert len(headings) <= 80


def test_a_terminal_shows_the_percentage_of_the_running_epoch() -> None:
    console = terminal()
    fit(Refreshing(console), epochs=2)
    text = CONTROL.sub("", written(console))
    for epoch in (1, 2):
        shown = re.findall(rf"epoch {epoch}/2.*?(\d+)%", text)
        expected = [str(100 * (batch + 1) // BATCHES) for batch in range(BATCHES)]
        assert [percentage for percentage in dict.fromkeys(shown) if percentage != "0"] == expected


def test_a_terminal_keeps_the_rows_and_loses_the_bar() -> None:
    console = terminal()
    table = ProgressTable(console)
    fit(table, epochs=2)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", written(console))) if line.strip()]
    assert_rows([line for line in lines if re.match(r" +\d+ +\d+\.\d ", line)])
    assert table.bar.live.is_started is False
    assert written(console).endswith("\x1b[2K")


def test_the_bar_is_gone_after_a_failure() -> None:
    console = terminal()
    table = ProgressTable(console)
    with pytest.raises(RuntimeError, match="the network broke"):
        fit(table, module=Boring(fail_in_epoch=2))
    assert table.bar.live.is_started is False


def test_a_score_that_was_not_logged_shows_as_a_dash() -> None:
    console = plain_console()
    fit(ProgressTable(console), epochs=1, module=Boring({"loss", "val_acc"}))
    assert written(console).splitlines()[-1].split()[2:] == ["0.9000", *["-"] * 5, "0.6000", *["-"] * 3]


def test_the_rows_before_a_resume_are_shown_again() -> None:
    console = plain_console()
    table = ProgressTable(console)
    table.load_state_dict({"rows": [{"epoch": 1, "loss": 0.25}]})
    fit(table, epochs=1)
    lines = written(console).splitlines()
    assert lines[2].split()[:3] == ["1", "-", "0.2500"]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0"), (99.94, "99.9"), (99.96, "100"), (123.45, "123"), (9999, "9999")]
)
def test_an_epochs_time_stays_apart_from_its_number(seconds: float, shown: str) -> None:
    assert format_row({"epoch": 10, "loss": 2.302585}, seconds).split()[:3] == ["10", shown, "2.3026"]
