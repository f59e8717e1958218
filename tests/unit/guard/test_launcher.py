import json
import signal
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from src.guard.launcher import explain_failures


@pytest.mark.parametrize("code", [-signal.SIGTERM, 128 + signal.SIGTERM])
def test_what_torchrun_ended_before_it_could_report_hides_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    (tmp_path / "1").write_text(json.dumps({"message": "train: loss is nan"}))
    failures = {
        rank: ProcessFailure(rank, 100 + rank, exitcode, str(tmp_path / str(rank)))
        for rank, exitcode in enumerate((code, 1))
    }
    explain_failures("train", 2, failures)
    assert capsys.readouterr().err == "train: loss is nan\n"
