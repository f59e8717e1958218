import json
import re
from pathlib import Path

import pytest

from src.report.verdict import Outcome
from tests.unit.history import POLICY, History
from tests.unit.report.conftest import judge

BASE_ERRORS = set(range(0, 1200, 10))


def part(markdown: str, title: str) -> str:
    """The text of one section."""
    return markdown.split(f"{title}\n", 1)[1].split("\n### ", 1)[0]


def row(markdown: str, metric: str) -> str:
    return next(line for line in markdown.splitlines() if line.startswith(f"| `{metric}` |"))


def locked(lock: str, path: str) -> str:
    """The hash of an output in the text of dvc.lock."""
    return re.findall(rf"path: {path}\n +hash: md5\n +md5: (\w+)", lock)[0]


def test_a_better_run_passes(history: History) -> None:
    history.write_results(set(range(0, 800, 10)))
    history.relock()
    history.commit("better")
    outcome, markdown = judge("main~1", "main")
    assert outcome is Outcome.PASS
    assert "### ✅ Pass" in markdown
    assert "40 digits fixed, 0 broken, exact McNemar p = 1.8e-12" in markdown
    assert "The change is for the better, and more than chance gives" in markdown
    assert row(markdown, "test_acc") == "| `test_acc` | 0.988 | 0.992 | +0.004 ▲ better | ✅ holds: may lose 0.001 |"
    assert "**The effect of another seed is not known** for data and recipe of base and head" in markdown


def test_a_worse_run_fails_and_names_the_metrics(history: History) -> None:
    history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
    history.relock()
    outcome, markdown = judge()
    assert outcome is Outcome.FAIL
    reasons = part(markdown, "### ❌ Fail")
    assert "- `test_acc`: lost 0.005, may lose 0.001" in reasons
    assert "- `test_f1`: lost 0.00" in reasons
    assert "The change is for the worse, and more than chance gives" in markdown
    assert "⚠️ broken, but only informs: lost 0.02" in row(markdown, "test_loss")
    assert "**50 broken** (index in the test set, actual→predicted): 1 (1→2), 11 (1→3)" in markdown


def test_a_run_within_noise_passes_and_says_so(history: History) -> None:
    history.write_results((BASE_ERRORS - {0, 10, 20}) | {1, 11, 21, 31, 41})
    history.relock()
    outcome, markdown = judge()
    assert outcome is Outcome.PASS
    assert "**The change is within what chance gives on this test set**: 3 digits fixed, 5 broken" in markdown
    assert "**5 broken** (index in the test set, actual→predicted): 1 (1→2), 11 (1→3), 21 (1→4), 31 (1→5)" in markdown


def test_a_loss_of_exactly_what_is_tolerated_holds(history: History) -> None:
    history.write_results(BASE_ERRORS | set(range(1, 100, 10)))
    history.relock()
    assert 0.988 - 0.987 > 0.001  # floats
    outcome, markdown = judge()
    assert outcome is Outcome.PASS
    assert "✅ holds: may lose 0.001" in row(markdown, "test_acc")


@pytest.mark.usefixtures("history")
def test_unchanged_passes() -> None:
    outcome, markdown = judge()
    assert outcome is Outcome.PASS
    assert "0 digits fixed, 0 broken, exact McNemar p = 1." in markdown
    assert "No digit broken." in markdown


@pytest.mark.parametrize("head", [None, "HEAD"])
def test_changed_code_is_stale_with_all_that_comes_after(history: History, head: str | None) -> None:
    with (history.path / "src/mnist/train/classifier.py").open("a") as file:
        file.write("# edited\n")
    history.commit("edited and not run")
    outcome, markdown = judge("main~1", head)
    assert outcome is Outcome.FAIL
    assert re.search(
        r"dvc.lock is stale: `dvc repro` would run .*`train`, .*perhaps .*`evaluate`", part(markdown, "### ❌ Fail")
    )
    assert "- `train`: `src/mnist/train` changed" in part(markdown, "### Is it stale?")
    assert "- `evaluate`: `train` comes before it and is stale" in part(markdown, "### Is it stale?")


def test_changed_params_are_stale(history: History) -> None:
    params = (history.path / "params.yaml").read_text()
    history.write("params.yaml", params.replace("seed: 0", "seed: 1"))
    history.commit("params and not run")
    outcome, markdown = judge("main~1", "main")
    assert outcome is Outcome.FAIL
    assert "- `train`: `params.yaml:seed` changed" in part(markdown, "### Is it stale?")
    assert "| `seed` | `0` | `1` |" in part(markdown, "### Params and code")


def test_a_changed_command_is_stale(history: History) -> None:
    text = (history.path / "dvc.yaml").read_text()
    history.write("dvc.yaml", text.replace("__main__.py evaluate", "__main__.py evaluate --again"))
    outcome, markdown = judge()
    assert outcome is Outcome.FAIL
    assert "dvc.lock is stale: `dvc repro` would run `evaluate`\n" in markdown


def test_a_stage_that_never_ran_is_stale(history: History) -> None:
    text = (history.path / "dvc.yaml").read_text()
    history.write(
        "dvc.yaml", text.replace("stages:\n", "stages:\n  extra:\n    cmd: echo\n    deps: [params.yaml]\n", 1)
    )
    outcome, markdown = judge()
    assert outcome is Outcome.FAIL
    assert "- `extra`: `the stage` is not in dvc.lock" in markdown


def test_a_lock_that_disagrees_with_itself_is_stale(history: History) -> None:
    """As after a merge of two branches that each trained a model."""
    lock = (history.path / "dvc.lock").read_text()
    train, evaluate = lock.split("\n  evaluate:\n")
    model = locked(lock, "models/model.safetensors")
    history.write("dvc.lock", f"{train}\n  evaluate:\n{evaluate.replace(model, 'f' * 32)}")
    outcome, markdown = judge()
    assert outcome is Outcome.FAIL
    assert "- `evaluate`: `models/model.safetensors` is not what the stage before it made" in markdown


@pytest.mark.parametrize("head", [None, "HEAD"])
def test_hand_edited_metrics_fail(history: History, head: str | None) -> None:
    history.write_metrics(test_acc=0.999, test_f1=0.999, test_loss=0.004)
    history.commit("wishful")
    outcome, markdown = judge("main~1", head)
    assert outcome is Outcome.FAIL
    assert "- `metrics/eval.json` differs from what dvc.lock records" in part(markdown, "### ❌ Fail")


def test_a_plot_that_was_not_committed_fails(history: History) -> None:
    (history.path / "plots/history.csv").unlink()
    history.commit("forgot one")
    outcome, markdown = judge("main~1", "main")
    assert outcome is Outcome.FAIL
    assert "- `plots/history.csv` is missing" in part(markdown, "### ❌ Fail")
    assert "No curve of head: `plots/history.csv of main: is missing`" in markdown


def test_data_that_git_ignores_is_left_to_verify(history: History) -> None:
    history.write("models/model.safetensors", "edited")
    assert judge()[0] is Outcome.PASS


@pytest.mark.parametrize("removed", [["dvc.yaml", "dvc.lock", "metrics"], ["dvc.lock"], ["metrics"]])
def test_a_base_without_a_pipeline_is_no_baseline(history: History, removed: list[str]) -> None:
    history.git("checkout", "-q", "-b", "first")
    history.git("rm", "-rq", "--cached", *removed)
    history.git("commit", "-qm", "before the pipeline")
    history.git("tag", "before")
    history.git("reset", "-q", "main")
    outcome, markdown = judge("before")
    assert outcome is Outcome.PASS
    assert "- no baseline: `before` has no results to compare with" in part(markdown, "### ✅ Pass")
    assert "✅ holds: no baseline" in row(markdown, "test_acc")


def test_no_baseline_does_not_excuse_a_stale_lock(history: History) -> None:
    empty = history.git("commit-tree", "-m", "nothing", history.git("hash-object", "-t", "tree", "-w", "/dev/null"))
    with (history.path / "src/mnist/data/idx.py").open("a") as file:
        file.write("# edited\n")
    outcome, markdown = judge(empty)
    assert outcome is Outcome.FAIL
    assert "`fetch`, `train`, `evaluate`" in part(markdown, "### ❌ Fail")


def test_a_head_without_results_cannot_be_judged(history: History) -> None:
    (history.path / "dvc.lock").unlink()
    outcome, markdown = judge()
    assert outcome is Outcome.UNKNOWN
    assert "has no dvc.lock" in markdown


def test_other_test_images_are_not_compared_one_by_one(history: History) -> None:
    history.hashes["data/MNIST"] = "0" * 32 + ".dir"
    history.relock()
    outcome, markdown = judge()
    assert outcome is Outcome.UNKNOWN
    assert "❓ could not tell: not comparable" in row(markdown, "test_acc")
    assert "the data changed, so the two models were not scored on the same test images" in markdown


def test_a_malformed_table_is_reported(history: History) -> None:
    history.write("plots/errors.csv", "index,actual,predicted,confidence\n1,2,three,0.5\n")
    history.relock()
    outcome, markdown = judge()
    assert outcome is Outcome.UNKNOWN
    assert "Could not be compared: `plots/errors.csv of working tree: expected numbers in the columns" in markdown


class TestPolicy:
    def test_a_change_is_not_judged_by_the_rules_that_it_loosens(self, history: History) -> None:
        history.write("metrics_policy.yaml", POLICY.replace("tolerated: 0.001", "tolerated: 0.5"))
        history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
        history.relock()
        outcome, markdown = judge()
        assert outcome is Outcome.FAIL
        assert "This change edits metrics_policy.yaml; it is judged by the base's." in markdown

    def test_a_policy_that_cannot_be_read_fails(self, history: History) -> None:
        history.write("metrics_policy.yaml", "metrics: {metrics/eval.json: {test_acc: {better: upwards}}}")
        outcome, markdown = judge()
        assert outcome is Outcome.FAIL
        assert "metrics_policy.yaml of working tree: metrics.metrics/eval" in part(markdown, "### ❌ Fail")

    def test_removing_the_policy_fails(self, history: History) -> None:
        (history.path / "metrics_policy.yaml").unlink()
        outcome, markdown = judge()
        assert outcome is Outcome.FAIL
        assert "metrics_policy.yaml: is missing in working tree" in markdown

    def test_the_first_policy_judges_the_change_that_brings_it(self, history: History) -> None:
        history.git("rm", "-q", "metrics_policy.yaml")
        history.git("commit", "-qm", "none")
        history.write("metrics_policy.yaml", POLICY)
        history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
        history.relock()
        assert judge("main")[0] is Outcome.FAIL


class TestMetrics:
    """What a metric can be besides a number."""

    def test_missing(self, history: History) -> None:
        history.write_metrics(test_f1=0.988, test_loss=0.048)
        history.relock()
        outcome, markdown = judge()
        assert outcome is Outcome.FAIL
        assert row(markdown, "test_acc") == "| `test_acc` | 0.988 | missing |  | ❌ broken: missing |"

    @pytest.mark.parametrize(
        ("value", "shown", "why"),
        [
            (float("nan"), "NaN", "NaN"),
            (float("inf"), "infinite", "infinite"),
            (-float("inf"), "infinite", "infinite"),
            (10**400, "infinite", "infinite"),
            ("0.99", "not a number: `0.99`", "not a number"),
            (True, "not a number: `True`", "not a number"),
            (None, "not a number: `None`", "not a number"),
            ([0.99], "not a number: `[0.99]`", "not a number"),
        ],
    )
    def test_a_value_that_is_not_a_number(self, history: History, value: object, shown: str, why: str) -> None:
        history.write_metrics(test_acc=value, test_f1=0.988, test_loss=0.048, other=value)
        history.relock()
        history.commit("no number")
        outcome, markdown = judge("main~1", "main")
        assert outcome is Outcome.FAIL
        assert f"- `test_acc`: {why}" in part(markdown, "### ❌ Fail")
        assert row(markdown, "test_acc") == f"| `test_acc` | 0.988 | {shown} |  | ❌ broken: {why} |"
        assert row(markdown, "other") == f"| `other` | missing | {shown} |  | informs: {why} |"

        history.write_results(BASE_ERRORS)
        history.relock()
        outcome, markdown = judge("main")
        assert outcome is Outcome.UNKNOWN, "the old value is not a number, so nobody knows what was lost"
        assert f"the old value is not a number: {why}" in part(markdown, "### ❓ Could not tell")

    def test_added_and_removed(self, history: History) -> None:
        history.write_metrics(test_acc=0.988, test_f1=0.988, test_loss=0.048, other=1)
        history.train_anew("one more")
        history.relock()
        history.commit("one more")
        _, markdown = judge("main~1", "main")
        assert row(markdown, "other") == "| `other` | missing | 1 |  | informs: added |"
        outcome, markdown = judge("main", "main~1")
        assert outcome is Outcome.PASS
        assert row(markdown, "other") == "| `other` | 1 | missing |  | informs: removed |"

    def test_a_gating_metric_that_is_new_cannot_be_judged(self, history: History) -> None:
        history.write_metrics(test_f1=0.988, test_loss=0.048)
        history.relock()
        history.commit("without")
        history.write_results(BASE_ERRORS)
        history.relock()
        outcome, markdown = judge()
        assert outcome is Outcome.UNKNOWN
        assert "❓ could not tell: the base lacks it, so any value would pass" in row(markdown, "test_acc")

    def test_a_rule_for_what_nobody_has_is_a_mistake(self, history: History) -> None:
        history.write("metrics_policy.yaml", POLICY.replace("test_acc", "test_accuracy"))
        history.commit("typo")
        outcome, markdown = judge()
        assert outcome is Outcome.FAIL
        assert "- `test_accuracy`: the policy names it, but neither revision has it" in markdown

    @pytest.mark.parametrize("content", ["{", "[" * 5000, '{"test_acc": 0.98', "\x00"])
    def test_a_file_that_is_not_json(self, history: History, content: str) -> None:
        history.write("metrics/eval.json", content)
        history.relock()
        history.commit("broken")
        outcome, markdown = judge("main~1", "main")
        assert outcome is Outcome.FAIL
        assert "- `test_acc`: its file cannot be read" in markdown
        history.write_results(BASE_ERRORS)
        history.relock()
        assert judge("main")[0] is Outcome.UNKNOWN, "the old values cannot be read"

    @pytest.mark.parametrize("content", ["[]", "{}", "7", '"text"'])
    def test_a_file_without_metrics(self, history: History, content: str) -> None:
        history.write("metrics/eval.json", content)
        history.relock()
        outcome, markdown = judge()
        assert outcome is Outcome.FAIL
        assert "- `test_acc`: missing" in markdown

    def test_a_broken_file_that_only_informs_is_shown(self, history: History) -> None:
        history.write("metrics/train.json", "{")
        history.train_anew("broken")
        history.relock()
        outcome, markdown = judge()
        assert outcome is Outcome.PASS
        assert "| `metrics/train.json` | " in markdown
        assert "its file cannot be read" in markdown

    def test_one_name_in_two_files(self, history: History) -> None:
        history.write("metrics/train.json", json.dumps({"test_acc": 0.1}))
        history.relock()
        _, markdown = judge()
        assert row(markdown, "metrics/eval.json:test_acc").startswith(
            "| `metrics/eval.json:test_acc` | 0.988 | 0.988 |"
        )
        assert row(markdown, "metrics/train.json:test_acc").startswith(
            "| `metrics/train.json:test_acc` | missing | 0.1 |"
        )

    def test_nested_names(self, history: History) -> None:
        history.write(
            "metrics/eval.json", json.dumps({"test_acc": 0.988, "test_f1": 0.988, "a": {"b": {"c": 1}, "d": {}}})
        )
        history.relock()
        _, markdown = judge()
        assert "`a.b.c`" in markdown
        assert row(markdown, "a.d") == "| `a.d` | missing | not a number: `{}` |  | informs: not a number |"


def test_nothing_in_the_users_tree_is_touched(history: History) -> None:
    history.write_results(BASE_ERRORS - {0})
    history.write("untracked", "mine")

    def state() -> dict[str, tuple[int, bytes]]:
        files = (path for path in Path().rglob("*") if path.is_file() and not {".git", ".dvc"} & set(path.parts))
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    head = (history.path / ".git/HEAD").read_text()
    judge()
    judge("main", "HEAD")
    assert state() == before
    assert (history.path / ".git/HEAD").read_text() == head
    assert history.git("stash", "list") == ""
