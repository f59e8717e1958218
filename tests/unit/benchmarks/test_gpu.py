"""What `make gpu` does beside the tests, on a CPU with tiny sizes, so that it is known to run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import CONVENTIONAL, FITS, RESULTS, Sizes, fit_table, main, report
from tests.conftest import REPOSITORY


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_card_it_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["gpu"])
    before = RESULTS.exists()
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu: nothing was run, since this needs an NVIDIA GPU: ")
    assert "there is no such device" in line
    assert RESULTS.exists() == before


def test_the_table_compares_with_the_conventional_program_and_tells_other_bytes() -> None:
    def run(model: str) -> dict[str, Any]:
        return {"model": model, "test_acc": 0.9912, "machine": {"device": "X", "captured": True}}

    seconds = {CONVENTIONAL: [90.0, 100.0, 110.0], "fast": [0.9, 1.0, 1.1], "accurate": [20.0, 25.0, 30.0]}
    *_, conventional, fast, accurate = fit_table(
        seconds, {"fast": [run("a"), run("a")], "accurate": [run("a"), run("b")]}
    )
    assert conventional == f"| {CONVENTIONAL} | 100.00 (90.00 to 110.00) | 1 | | | |"
    assert fast == "| fast | 1.00 (0.90 to 1.10) | 100.0 | 99.12% | yes | yes |"
    assert accurate == "| accurate | 25.00 (20.00 to 30.00) | 4.0 | 99.12% | yes | **no** |"


@pytest.mark.slow
def test_everything_runs_on_a_cpu(digits_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    recipe = {"dataset": "digits", "epochs": 8, "batch_size": 64, "architecture": "cnn", "precision": "fp32"}
    sizes = Sizes("cpu", digits_dir, rounds=2, epochs=1, options=("--epochs", "1"), params=recipe)
    lines, good = report(sizes, "5 passed")
    assert good
    text = "\n".join(lines)
    for name in (CONVENTIONAL, *FITS):
        assert f"\n| {name} | " in text
    assert "resumed ends in the bytes of a whole one: yes." in text
    assert "with `tta_shift=1`: 0.0e+00." in text
