import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = "import os; from src.guard.environment import sanitize; sanitize(os.environ); import torch"


@pytest.mark.parametrize(
    ("chosen", "expected"), [({}, 1000), ({"OMP_WAIT_POLICY": "PASSIVE"}, 0), ({"GOMP_SPINCOUNT": "7"}, 7)]
)
def test_threads_that_wait_soon_sleep_unless_the_user_chose_otherwise(chosen: dict[str, str], expected: int) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environ = inherited | chosen | {"OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True
    )
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr
