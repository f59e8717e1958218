import json
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.mnist.evaluate.__main__ import CONFUSION, METRICS, PICTURE, main
from src.mnist.evaluate.summary import summary_line
from stages.evaluate import Outputs

METRICS_TEXT = json.dumps(
    {"test_acc": 0.9957, "test_acc_low": 0.994213, "test_acc_high": 0.996806, "test_loss": 0.01342}
)
LINE = "Test accuracy 99.57% (95% interval 99.42% to 99.68%), loss 0.0134, 43 of 10,000 images wrong: plots/errors.png"


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for path in (METRICS, CONFUSION):
        path.parent.mkdir()
    METRICS.write_text(METRICS_TEXT)
    CONFUSION.write_text("actual,predicted,count\n0,0,9000\n0,1,40\n1,0,3\n1,1,957\n")
    return tmp_path


@pytest.mark.usefixtures("evaluated")
def test_the_line_has_the_scores_the_number_of_errors_and_their_picture() -> None:
    assert summary_line(METRICS, CONFUSION, PICTURE) == LINE


@pytest.mark.usefixtures("evaluated")
def test_the_command_prints_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert capsys.readouterr().out == f"{LINE}\n"


def test_the_command_reads_what_the_stage_writes() -> None:
    outputs = Outputs()
    assert (outputs.metrics, outputs.confusion, outputs.errors_picture) == (METRICS, CONFUSION, PICTURE)


@pytest.mark.parametrize("path", [METRICS, CONFUSION])
@pytest.mark.parametrize(
    "content", [None, "", "{}", "[1]", "\xff", "actual,count\n1,2\n", "actual,predicted,count\n1,2\n"]
)
@pytest.mark.usefixtures("evaluated")
def test_what_is_no_evaluation_is_refused_in_one_line(
    path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="latin-1")
    assert main() == 1
    error = capsys.readouterr().err
    assert error.startswith(f"evaluate: {METRICS}, {CONFUSION}: are not a whole evaluation")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("evaluated")
def test_the_error_names_its_cause() -> None:
    METRICS.write_text("{}")
    with pytest.raises(UserError, match="'test_acc'"):
        summary_line(METRICS, CONFUSION, PICTURE)
