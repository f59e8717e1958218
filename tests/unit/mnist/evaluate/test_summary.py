import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.mnist.evaluate.summary import CONFUSION, METRICS, PICTURE, summary_line
from stages.evaluate import Outputs
from tests.conftest import REPOSITORY

SCORES = {"test_acc": 0.9957, "test_acc_low": 0.994213, "test_acc_high": 0.996806, "test_loss": 0.01342}
LINE = "Test accuracy 99.57% (95% interval 99.42% to 99.68%), loss 0.0134, 43 of 10,000 images wrong: plots/errors.png"


@pytest.fixture(autouse=True)
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (METRICS, CONFUSION):
        path.parent.mkdir()
    METRICS.write_text(json.dumps(SCORES))
    CONFUSION.write_text("actual,predicted,count\n0,0,9000\n0,1,40\n1,0,3\n1,1,957\n")


def test_summary_line_has_scores_error_count_and_image_path() -> None:
    assert summary_line() == LINE


def test_summary_reads_outputs_of_the_stage() -> None:
    outputs = Outputs()
    assert (outputs.metrics, outputs.confusion, outputs.errors_picture) == (METRICS, CONFUSION, PICTURE)


@pytest.mark.parametrize("path", [METRICS, CONFUSION])
@pytest.mark.parametrize(
    "content", [None, "", "{}", "[1]", "\xff", "actual,count\n1,2\n", "actual,predicted,count\n1,2\n"]
)
def test_malformed_evaluation_is_rejected_in_one_line(path: Path, content: str | None) -> None:
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError) as caught:
        summary_line()
    assert str(caught.value).startswith(f"{METRICS}, {CONFUSION}: are not a complete evaluation (")
    assert "\n" not in str(caught.value)


def test_command_prints_summary_or_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for code, said in ((0, LINE), (1, "")):
        command = [sys.executable, "-m", "src.mnist.evaluate.summary"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (code, said)
        METRICS.unlink(missing_ok=True)
    assert done.stderr.startswith("evaluate: ")
    assert done.stderr.count("\n") == 1
