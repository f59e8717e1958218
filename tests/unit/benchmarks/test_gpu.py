from pathlib import Path

import pytest
import torch

from benchmarks import measure
from benchmarks.gpu import main
from benchmarks.measure import CONVENTIONAL, Run, fit_table, interleaved
from src.mnist.data.dataset import load_examples


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_missing_gpu_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert main() == 1
    assert capsys.readouterr() == ("", "gpu: nothing was measured, since torch finds no NVIDIA GPU; see `nvidia-smi`\n")


def test_only_mnist_is_measured(digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = f"expected MNIST, 60,000 images, got {len(load_examples(digits_dir, 'train').labels):,}"
    for folder, said in ((digits_dir, digits), (tmp_path, "run `dvc repro fetch`")):
        monkeypatch.setattr(measure, "DATA_DIR", folder)
        with pytest.raises(SystemExit, match=rf"^benchmark: {folder}\S*: .*{said}"):
            interleaved({}, 1)


def test_table_has_speedups_and_flags_differing_bytes() -> None:
    def run(seconds: float, model: str) -> Run:
        return {"seconds": seconds, "model": model, "test_acc": 0.9912}

    *_, conventional, fast, accurate, once = fit_table(
        {
            CONVENTIONAL: [{"seconds": 90.0}, {"seconds": 100.0}, {"seconds": 110.0}],
            "fast": [run(0.9, "a"), run(1.1, "a")],
            "accurate": [run(20.0, "a"), run(30.0, "b")],
            "once": [run(5.0, "a")],
        }
    )
    assert conventional == f"| {CONVENTIONAL} | 100.00 (90.00 to 110.00) | 1.0 |  |  |"
    assert fast == "| fast | 1.00 (0.90 to 1.10) | 100.0 | 99.12% | yes |"
    assert accurate == "| accurate | 25.00 (20.00 to 30.00) | 4.0 | 99.12% | **no** |"
    assert once == "| once | 5.00 (5.00 to 5.00) | 20.0 | 99.12% |  |"
