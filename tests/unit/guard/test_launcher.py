import json
import os
import signal
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from src.guard.launcher import explain_failures


@pytest.mark.parametrize(
    ("codes", "reporting"),
    [
        # torchrun ended the other process before it could report.
        ((-signal.SIGTERM, 1), [1]),
        ((128 + signal.SIGTERM, 1), [1]),
        # All processes fail immediately.
        ((1, 1), [1, 0]),
    ],
)
def test_first_report_of_a_process_is_printed_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], codes: tuple[int, int], reporting: list[int]
) -> None:
    for seconds, rank in enumerate(reporting, start=1):
        (tmp_path / str(rank)).write_text(json.dumps({"message": f"train: process {rank}: loss is nan"}))
        os.utime(tmp_path / str(rank), (seconds, seconds))
    failures = {
        rank: ProcessFailure(rank, 100 + rank, code, str(tmp_path / str(rank))) for rank, code in enumerate(codes)
    }
    explain_failures("train", 2, failures)
    assert capsys.readouterr().err == "train: process 1: loss is nan\n"
