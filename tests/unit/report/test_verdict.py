"""The comment on a change; test_no_wrong_pass.py has the ways to a wrong pass."""

import json
import math
import re
from pathlib import Path

import pytest

from src.report.comment import sparklines
from src.report.finding import Finding, Level, Text
from tests.unit.history import History
from tests.unit.report.attacks import (
    BASE_ERRORS,
    Attack,
    delete,
    swap,
    without,
    worse,
)
from tests.unit.report.conftest import FAIL, PASS, UNKNOWN, judge, reasons, row, texts, verdict_of


def test_better_run_passes(history: History) -> None:
    history.rerun(set(range(0, 800, 10)))
    history.commit("better")
    outcome, markdown = judge("main~1", "main")
    assert outcome == PASS
    assert markdown.startswith("## ✅ Metrics: pass · accuracy 98.80% → **99.20%** (+0.40 points)\n")
    assert "**Noise?** No: 0 examples lost, 40 won (McNemar p = 2e-12); 99.01% to 99.36%, was 98.57%" in markdown
    assert row(markdown, "test_acc") == "| **`test_acc`** | 0.9880 | 0.9920 | +0.0040 | 0.001 | ✅ |"
    assert "Another seed: not measured for this recipe" in markdown


def test_worse_run_fails_and_names_the_metrics(history: History) -> None:
    worse(history)
    outcome, markdown = judge()
    assert outcome == FAIL
    assert "**Why:** `test_acc`, `test_f1`: lost more than allowed" in markdown
    assert "**Changed:** no param · code in `src/mnist/train` · no stage" in markdown
    assert row(markdown, "test_loss").endswith("| 10% | ⚠️ |")
    assert "<summary>Confusions: <code>1</code>→<code>2</code> (+6), " in markdown
    assert "**50 lost** (index in the test set, actual→predicted): 1 (`1`→`2`), 11 (`1`→`3`)" in markdown


def test_run_within_noise_passes_with_a_note(history: History) -> None:
    history.rerun((BASE_ERRORS - {0, 10, 20}) | {1, 11, 21, 31, 41})
    outcome, markdown = judge()
    assert outcome == PASS
    assert "**Noise?** Perhaps: 5 examples lost, 3 won" in markdown


def test_loss_equal_to_the_tolerance_passes(history: History) -> None:
    worse(history, 10)
    assert 0.988 - 0.987 > 0.001  # floats
    outcome, markdown = judge()
    assert outcome == PASS
    assert row(markdown, "test_acc").endswith("| −0.0010 | 0.001 | ✅ |")


@pytest.mark.usefixtures("history")
def test_unchanged_metrics_take_three_lines() -> None:
    outcome, markdown = judge()
    assert outcome == PASS
    lines = [line for line in markdown.splitlines() if line]
    assert lines[0] == "## ✅ Metrics: pass · accuracy 98.80%, unchanged"
    assert lines[1].startswith("the working tree against `main` (`")
    assert lines[2] == "**Changed:** no param · no code · no stage · dvc.lock and receipts hold"
    assert len(lines) == 3


@pytest.mark.parametrize("head", [None, "HEAD"])
def test_changed_code_makes_its_stage_stale(history: History, head: str | None) -> None:
    history.write("src/mnist/train/classifier.py", "# edited\n")
    history.commit("edited and not run")
    (found,) = reasons("main~1", head, "lock")
    assert "code in `src/mnist/train`" in judge("main~1", head)[1]
    assert re.search(r"stale: dvc repro would run .*train and perhaps more \(src/mnist/train changed\)", found)


@pytest.mark.parametrize(
    ("edit", "force", "why"),
    [
        (swap("params.yaml", "epochs: 10", "epochs: 10.0"), " --force", "params.yaml:epochs has another type"),
        (without("train", "params", "lr"), " --force", "params.yaml:lr is in dvc.lock but no longer declared"),
        (swap("params.yaml", "epochs: 10", "epochs: '10'"), "", "params.yaml:epochs changed"),
    ],
)
def test_change_unnoticed_by_dvc_needs_force(history: History, edit: Attack, force: str, why: str) -> None:
    edit(history)
    (found,) = reasons("main", None, "lock")
    assert f"stale: dvc repro{force} would run " in found
    assert why in found


def test_changed_params_are_reported(history: History) -> None:
    swap("params.yaml", "seed: 0", "seed: 1")(history)
    outcome, markdown = judge()
    assert outcome == FAIL
    assert "`params.yaml:seed` changed" in markdown
    assert "**Changed:** `seed` `0` → `1` · " in markdown


def test_inconsistent_lock_is_stale(history: History) -> None:
    """As after a merge of two branches that each trained a model."""
    lock = (history.path / "dvc.lock").read_text()
    train, evaluate = lock.split("\n  evaluate:\n")
    other = re.sub(r"(path: models/model.safetensors\n +hash: md5\n +md5: )\w+", rf"\g<1>{'f' * 32}", evaluate)
    history.write("dvc.lock", f"{train}\n  evaluate:\n{other}")
    verdict = verdict_of("main")
    assert verdict["outcome"] == FAIL
    assert "dvc repro would run evaluate and perhaps more (models/model.safetensors " in texts(verdict, "lock")[0]


@pytest.mark.parametrize("head", [None, "HEAD"])
def test_edited_and_uncommitted_outputs_are_reported(history: History, head: str | None) -> None:
    history.write_metrics(test_acc=0.999, test_f1=0.999, test_loss=0.004)
    delete("plots/history.csv")(history)
    history.commit("wishful")
    assert set(reasons("main~1", head, "outputs")) == {
        "metrics/eval.json: differs from what dvc.lock records",
        "plots/history.csv: is missing",
    }


def test_outdated_policy_is_rejected_by_name(history: History) -> None:
    swap("metrics_policy.yaml", "version: 2\n", "")(history)
    history.commit("older")
    (found,) = reasons("main", check="policy")
    assert found.startswith("metrics_policy.yaml of main: version: expected 2, got none")


def test_data_ignored_by_git_is_left_to_verify(history: History) -> None:
    history.write("models/model.safetensors", "edited")
    assert judge()[0] == PASS


@pytest.mark.fault(44)
@pytest.mark.parametrize("removed", [["dvc.yaml", "dvc.lock", "metrics"], ["dvc.lock"], ["metrics"]])
def test_base_without_a_pipeline_is_not_a_baseline(history: History, removed: list[str]) -> None:
    history.git("checkout", "-q", "-b", "first")
    history.git("rm", "-rq", "--cached", *removed)
    history.git("commit", "-qm", "before the pipeline")
    history.git("tag", "before")
    outcome, markdown = judge("before")
    assert outcome == PASS
    assert "no baseline: `before` has no results to compare with" in markdown
    if "metrics" in removed:
        assert row(markdown, "test_acc") == "| **`test_acc`** | missing | 0.9880 |  | 0.001 | ✅ |"


@pytest.mark.usefixtures("history")
def test_more_severe_of_two_findings_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [lambda _, level=level: iter([Finding(level, Text("the same"))]) for level in (Level.NOTE, Level.FAIL)]
    for check in checks:
        check.__name__ = "check"
    monkeypatch.setattr("src.report.checks.CHECKS", checks)
    verdict = verdict_of("main")
    assert (verdict["outcome"], texts(verdict)) == (FAIL, ["the same"])


def test_display_options_of_an_output_do_not_matter(history: History) -> None:
    swap("dvc.yaml", "title: Learning rate", "title: Rate")(history)
    history.relock()
    assert reasons(check="stages") == []


def test_what_is_out_of_date_in_the_base_is_named(history: History) -> None:
    history.train_anew("edited and not run")
    history.commit("stale")
    history.relock()
    assert reasons(check="lock") == [
        "the base itself is out of date in src/mnist/train, so its values may not be its code's"
    ]


@pytest.mark.parametrize("key", ["wrong", "counts", "classes", "pictures"])
def test_tables_outside_the_policy_are_not_required(history: History, key: str) -> None:
    policy = (history.path / "metrics_policy.yaml").read_text()
    history.write("metrics_policy.yaml", re.sub(rf"(?m)^  {key}: .*\n", "", policy))
    history.commit("without")
    worse(history)
    outcome, markdown = judge()
    assert outcome == FAIL
    assert "**Why:** `test_acc`, `test_f1`: lost more than allowed\n" in markdown
    assert ("**Noise?** No" in markdown) == (key not in ("wrong", "counts"))


def test_stale_lock_fails_without_a_baseline(history: History) -> None:
    empty = history.git("commit-tree", "-m", "nothing", history.git("hash-object", "-t", "tree", "-w", "/dev/null"))
    history.write("src/mnist/data/idx.py", "# edited\n")
    verdict = verdict_of(empty)
    assert verdict["outcome"] == FAIL
    assert "would run check, fetch, train, evaluate (src/mnist/data changed)" in texts(verdict, "lock")[0]


def test_other_test_images_are_not_compared_one_by_one(history: History) -> None:
    history.hashes["data/MNIST/raw/t10k-labels-idx1-ubyte"] = "0" * 32
    worse(history)
    outcome, markdown = judge()
    assert outcome == UNKNOWN
    assert markdown.count("not comparable") == 1
    assert "Noise?" not in markdown
    assert row(markdown, "test_acc").endswith("| ❓ |")


@pytest.mark.fault(41)
class TestMetrics:
    """Metrics that are not numbers."""

    @pytest.mark.parametrize(("value", "shown"), [(float("nan"), "NaN"), (True, "not a number: `True`")])
    def test_non_numeric_value_is_reported(self, history: History, value: object, shown: str) -> None:
        others = {"inf": float("inf"), "huge": 10**400, "text": "0.99", "nothing": None, "list": [0.99]}
        history.write_metrics(test_acc=value, test_f1=0.988, test_loss=0.048, **others)
        history.relock()
        history.commit("no number")
        outcome, markdown = judge("main~1", "main")
        assert outcome == FAIL
        assert f"`test_acc`: {shown}" in markdown
        assert row(markdown, "test_acc") == f"| **`test_acc`** | 0.9880 | {shown} |  | 0.001 | ❌ |"
        for name, other in others.items():
            other_shown = "infinite" if name in ("inf", "huge") else f"not a number: `{other}`"
            assert row(markdown, name) == f"| `{name}` | missing | {other_shown} |  |  |  |"
        # Conversely, the loss is unknown.
        history.git("checkout", "-q", "-b", "back")
        history.git("revert", "--no-edit", "HEAD")
        outcome, markdown = judge("main", "back")
        assert outcome == UNKNOWN
        assert f"the old value is not a number: {shown}" in markdown

    def test_missing_required_metric_fails(self, history: History) -> None:
        history.write_metrics(test_f1=0.987657, test_loss=0.048, other=1)
        history.relock()
        history.commit("without")
        outcome, markdown = judge("main~1", "main")
        assert outcome == FAIL
        assert row(markdown, "test_acc") == "| **`test_acc`** | 0.9880 | missing |  | 0.001 | ❌ |"
        assert row(markdown, "other") == "| `other` | missing | 1 |  |  |  |"
        history.rerun(BASE_ERRORS)
        outcome, markdown = judge()
        assert outcome == UNKNOWN
        assert "`test_acc`: the base lacks it, so any value would pass" in markdown
        assert row(markdown, "other") == "| `other` | 1 | missing |  |  |  |"

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("{", "its file cannot be read: "),
            ("[" * 5000, "its file cannot be read: "),
            ("{}", "missing"),
            ('"text"', "missing"),
        ],
    )
    def test_file_without_metrics_is_reported(self, history: History, content: str, why: str) -> None:
        history.write("metrics/eval.json", content)
        history.relock()
        history.commit("broken")
        verdict = verdict_of("main~1", "main")
        assert verdict["outcome"] == FAIL
        (lost, *_) = [finding["text"] for finding in verdict["findings"] if finding["check"] == "metrics"]
        assert lost.startswith(f"test_acc, test_f1: {why}")
        history.rerun(BASE_ERRORS)
        assert judge("main")[0] == UNKNOWN, "the old values cannot be read"

    def test_broken_informational_file_is_shown(self, history: History) -> None:
        history.write("metrics/train.json", "{")
        history.train_anew("broken")
        history.relock()
        outcome, markdown = judge()
        assert outcome == PASS
        assert "its file cannot be read" in row(markdown, "metrics/train.json")

    def test_nested_names_in_two_files(self, history: History) -> None:
        content = {"test_acc": 0.988, "test_f1": 0.988, "a": {"b": {"c": 1}, "d": {}}}
        history.write("metrics/eval.json", json.dumps(content))
        history.write("metrics/train.json", json.dumps({"test_acc": 0.1}))
        history.relock()
        _, markdown = judge()
        assert "| 0.9880 | 0.9880 |" in row(markdown, "metrics/eval.json:test_acc")
        assert "| missing | 0.1000 |" in row(markdown, "metrics/train.json:test_acc")
        assert "`a.b.c`" in markdown
        assert row(markdown, "a.d") == "| `a.d` | missing | not a number: `{}` |  |  |  |"


def test_repository_of_the_user_is_not_modified(history: History) -> None:
    history.write_results(BASE_ERRORS - {0})
    history.write("untracked", "mine")

    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in Path().rglob("*") if path.is_file()]
        # Git updates the time of a pack whose objects it writes again.
        return {str(p): (0 if ".pack" in p.name else p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    before = state()
    judge()
    judge("main", "HEAD")
    assert state() == before


def curve(*values: float) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "x": value} for epoch, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("base", "head", "drawn"),
    [
        ([0.5, 0.25, 0.2], [0.5, 0.2, 0.1, 0.1], ["██▆", "█▆▁▁"]),
        ([9e9, 3, 2, 1], [math.nan, 3, math.nan, 1], ["██▁", "█·▁"]),
        ([], [0.3, 0.3], ["", "▁▁"]),
        ([], [], ["", ""]),
        ([1 / epoch for epoch in range(1, 1001)], [1e308], ["███████████▇▆▆▅▄▄▄▃▃▃▂▂▂▂▂▁▁▁▁", ""]),
    ],
)
def test_curves_share_a_scale_and_keep_their_lengths(base: list[float], head: list[float], drawn: list[str]) -> None:
    assert sparklines("x", [curve(*base), curve(*head)]) == drawn
