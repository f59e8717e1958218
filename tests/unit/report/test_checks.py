"""No check is idle: without it, a case is judged otherwise, or nobody says why."""

from collections.abc import Callable

import pytest

from src.report import checks, command
from src.report.change import Change
from tests.unit.history import POLICY, History
from tests.unit.report.test_evidence import worse
from tests.unit.report.test_no_wrong_pass import CASES, HOLES, wishful


def stale_base(history: History) -> None:
    worse(history, 50)
    history.commit("on main")
    history.git("checkout", "-q", "-b", "theirs", "HEAD~1")
    history.git("commit", "-q", "--allow-empty", "-m", "theirs")
    history.git("branch", "-f", "main", "main")


def since(history: History) -> None:
    """Lost within the tolerance of a step, and more than what may be lost in all."""
    history.git("tag", "reference")
    policy = POLICY.replace("tolerated: 0.001,", "tolerated: 0.5, since_reference: 0.002,", 1)
    history.write(
        "metrics_policy.yaml", policy.replace("tolerated: 0.001", "tolerated: 0.5") + "reference: reference\n"
    )
    history.commit("a bar")
    worse(history, 50)


# Of checks that no attack names.
OTHERS: dict[str, Callable[[History], object]] = {
    "since_reference": since,
    "lineage": stale_base,
    "reproduced": lambda _: None,
    "results": lambda history: (history.path / "dvc.lock").unlink(),
    "policy": lambda history: (history.path / "metrics_policy.yaml").unlink(),
    "tools": lambda history: history.write("src/report/checks.py", "CHECKS = ()\n"),
}


@pytest.mark.parametrize("check", [check.__name__ for check in checks.CHECKS])
def test_without_a_check_a_case_is_judged_otherwise(
    history: History, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [attack for attack, _, name in {**CASES, **HOLES}.values() if name == check]
    attack = OTHERS.get(check) or named[-1]
    attack(history)
    history.commit(check)
    base = "main" if check == "lineage" else "HEAD~1"

    def found() -> set[str]:
        return {finding["text"] for finding in command.judge(base, "HEAD", "no").verdict["findings"]}

    with_it = found()
    monkeypatch.setattr(checks, "CHECKS", tuple(one for one in checks.CHECKS if one.__name__ != check))
    assert found() < with_it


def test_a_check_that_breaks_cannot_tell(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Change) -> list[object]:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(checks, "CHECKS", (*checks.CHECKS, broken))
    verdict = command.judge("main", None).verdict
    assert verdict["outcome"] == "could not tell"
    assert "the check broken broke: ZeroDivisionError: a defect" in str(verdict["findings"])
    assert "Traceback" in capsys.readouterr().err
    wishful(history)
    assert command.judge("main", None).verdict["outcome"] == "fail", "the other checks go on"
