import json
import re
from pathlib import Path

import pytest

from tests.unit.history import POLICY, History
from tests.unit.report.conftest import FAIL, PASS, UNKNOWN, judge, reasons, row

BASE_ERRORS = set(range(0, 1200, 10))


def locked(lock: str, path: str) -> str:
    """The hash of an output in the text of dvc.lock."""
    return re.findall(rf"path: {path}\n +hash: md5\n +md5: (\w+)", lock)[0]


def test_a_better_run_passes(history: History) -> None:
    history.write_results(set(range(0, 800, 10)))
    history.relock()
    history.commit("better")
    outcome, markdown = judge("main~1", "main")
    assert outcome == PASS
    assert markdown.startswith("## ✅ Metrics: pass · accuracy 98.80% → **99.20%** (+0.40 points)\n")
    assert "**Noise?** No: 0 examples lost, 40 won (McNemar p = 2e-12); 99.01% to 99.36%, was 98.57%" in markdown
    assert row(markdown, "test_acc") == "| **`test_acc`** | 0.9880 | 0.9920 | +0.0040 | 0.001 | ✅ |"
    assert "Another seed: not measured for this recipe (`make seeds N=5`)." in markdown


def test_a_worse_run_fails_and_names_the_metrics(history: History) -> None:
    history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
    history.relock()
    outcome, markdown = judge()
    assert outcome == FAIL
    assert "**Why:** `test_acc`, `test_f1`: lost more than allowed" in markdown
    assert row(markdown, "test_loss").endswith("| 10% | ⚠️ |")
    assert "**50 lost** (index in the test set, actual→predicted): 1 (`1`→`2`), 11 (`1`→`3`)" in markdown


def test_a_run_within_noise_passes_and_says_so(history: History) -> None:
    history.write_results((BASE_ERRORS - {0, 10, 20}) | {1, 11, 21, 31, 41})
    history.relock()
    outcome, markdown = judge()
    assert outcome == PASS
    assert "**Noise?** Perhaps: 5 examples lost, 3 won" in markdown
    assert "**5 lost** (index in the test set, actual→predicted): 1 (`1`→`2`), 11 (`1`→`3`), 21 (`1`→`4`)" in markdown


def test_a_loss_of_exactly_what_is_tolerated_holds(history: History) -> None:
    history.write_results(BASE_ERRORS | set(range(1, 100, 10)))
    history.relock()
    assert 0.988 - 0.987 > 0.001  # floats
    outcome, markdown = judge()
    assert outcome == PASS
    assert row(markdown, "test_acc").endswith("| −0.0010 | 0.001 | ✅ |")


@pytest.mark.usefixtures("history")
def test_what_changes_no_metric_is_three_lines() -> None:
    outcome, markdown = judge()
    assert outcome == PASS
    lines = [line for line in markdown.splitlines() if line]
    assert lines[0] == "## ✅ Metrics: pass · accuracy 98.80%, unchanged"
    assert lines[1].startswith("the working tree against `main` (`")
    assert lines[2] == "**Changed:** no param · no code · no stage · dvc.lock and receipts hold"
    assert len(lines) == 3


@pytest.mark.parametrize("head", [None, "HEAD"])
def test_changed_code_is_stale_with_all_that_comes_after(history: History, head: str | None) -> None:
    with (history.path / "src/mnist/train/classifier.py").open("a") as file:
        file.write("# edited\n")
    history.commit("edited and not run")
    (found,) = reasons("main~1", head, "lock")
    assert re.search(r"stale: dvc repro would run .*train, then perhaps .*evaluate \(src/mnist/train changed\)", found)
    assert judge("main~1", head)[0] == FAIL


def test_changed_params_are_stale(history: History) -> None:
    params = (history.path / "params.yaml").read_text()
    history.write("params.yaml", params.replace("seed: 0", "seed: 1"))
    history.commit("params and not run")
    outcome, markdown = judge("main~1", "main")
    assert outcome == FAIL
    assert "`params.yaml:seed` changed" in markdown
    assert "**Changed:** `seed` `0` → `1` · " in markdown


def test_a_changed_command_is_stale(history: History) -> None:
    text = (history.path / "dvc.yaml").read_text()
    history.write("dvc.yaml", text.replace("__main__.py evaluate", "__main__.py evaluate --again"))
    assert judge()[0] == FAIL
    assert reasons(check="lock") == ["dvc.lock is stale: dvc repro would run evaluate (its command changed)"]


def test_a_stage_that_never_ran_is_stale(history: History) -> None:
    text = (history.path / "dvc.yaml").read_text()
    extra = "stages:\n  extra:\n    cmd: echo\n    deps: [params.yaml]\n"
    history.write("dvc.yaml", text.replace("stages:\n", extra, 1))
    assert judge()[0] == FAIL
    assert reasons(check="lock") == ["dvc.lock is stale: dvc repro would run extra (the stage is not in dvc.lock)"]


def test_a_lock_that_disagrees_with_itself_is_stale(history: History) -> None:
    """As after a merge of two branches that each trained a model."""
    lock = (history.path / "dvc.lock").read_text()
    train, evaluate = lock.split("\n  evaluate:\n")
    model = locked(lock, "models/model.safetensors")
    history.write("dvc.lock", f"{train}\n  evaluate:\n{evaluate.replace(model, 'f' * 32)}")
    assert judge()[0] == FAIL
    assert "models/model.safetensors changed" in reasons(check="lock")[0]


@pytest.mark.parametrize("head", [None, "HEAD"])
def test_hand_edited_metrics_fail(history: History, head: str | None) -> None:
    history.write_metrics(test_acc=0.999, test_f1=0.999, test_loss=0.004)
    history.commit("wishful")
    assert judge("main~1", head)[0] == FAIL
    assert reasons("main~1", head, "outputs") == ["metrics/eval.json differs from what dvc.lock records"]


def test_a_plot_that_was_not_committed_fails(history: History) -> None:
    (history.path / "plots/history.csv").unlink()
    history.commit("forgot one")
    assert judge("main~1", "main")[0] == FAIL
    assert reasons("main~1", "main", "outputs") == ["plots/history.csv is missing"]
    assert reasons("main~1", "main", "curves") == ["plots/history.csv of main: is missing"]


def test_data_that_git_ignores_is_left_to_verify(history: History) -> None:
    history.write("models/model.safetensors", "edited")
    assert judge()[0] == PASS


@pytest.mark.fault(44)
@pytest.mark.parametrize("removed", [["dvc.yaml", "dvc.lock", "metrics"], ["dvc.lock"], ["metrics"]])
def test_a_base_without_a_pipeline_is_no_baseline(history: History, removed: list[str]) -> None:
    history.git("checkout", "-q", "-b", "first")
    history.git("rm", "-rq", "--cached", *removed)
    history.git("commit", "-qm", "before the pipeline")
    history.git("tag", "before")
    outcome, markdown = judge("before")
    assert outcome == PASS
    assert "no baseline: `before` has no results to compare with" in markdown
    if "metrics" in removed:
        assert row(markdown, "test_acc") == "| **`test_acc`** | missing | 0.9880 |  | 0.001 | ✅ |"


def test_no_baseline_does_not_excuse_a_stale_lock(history: History) -> None:
    empty = history.git("commit-tree", "-m", "nothing", history.git("hash-object", "-t", "tree", "-w", "/dev/null"))
    with (history.path / "src/mnist/data/idx.py").open("a") as file:
        file.write("# edited\n")
    assert judge(empty)[0] == FAIL
    assert "would run check, fetch, train, evaluate (src/mnist/data changed)" in reasons(empty, check="lock")[0]


def test_a_head_without_results_cannot_be_judged(history: History) -> None:
    (history.path / "dvc.lock").unlink()
    outcome, markdown = judge()
    assert outcome == UNKNOWN
    assert "has no dvc.lock" in markdown


def test_other_test_images_are_not_compared_one_by_one(history: History) -> None:
    history.hashes["data/MNIST/raw/t10k-labels-idx1-ubyte"] = "0" * 32
    history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
    history.relock()
    outcome, markdown = judge()
    assert outcome == UNKNOWN
    assert markdown.count("not comparable") == 1
    assert "Noise?" not in markdown
    assert row(markdown, "test_acc").endswith("| ❓ |")


def test_a_malformed_table_is_reported_once(history: History) -> None:
    history.write("plots/errors.csv", "index,actual,predicted,confidence\n1,2,three,0.5\n,2,3,0.5\n")
    history.relock()
    outcome, markdown = judge()
    assert outcome == UNKNOWN
    assert markdown.count("plots/errors.csv of working tree: 1.index: ") == 2, "tables, predictions"


class TestPolicy:
    def test_a_change_is_not_judged_by_the_rules_that_it_loosens(self, history: History) -> None:
        history.write("metrics_policy.yaml", POLICY.replace("tolerated: 0.001", "tolerated: 0.5"))
        history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
        history.relock()
        outcome, markdown = judge()
        assert outcome == FAIL
        assert "this change edits `metrics_policy.yaml`; it is judged by the base's" in markdown

    def test_a_policy_that_cannot_be_read_fails(self, history: History) -> None:
        history.write("metrics_policy.yaml", "version: 2\nmetrics: {metrics/eval.json: {test_acc: {better: upwards}}}")
        assert judge()[0] == FAIL
        assert reasons(check="policy")[0].startswith("metrics_policy.yaml of working tree: metrics.metrics/eval")

    def test_removing_the_policy_fails(self, history: History) -> None:
        (history.path / "metrics_policy.yaml").unlink()
        assert judge()[0] == FAIL
        assert reasons(check="policy") == ["metrics_policy.yaml: is missing in working tree"]

    def test_the_first_policy_judges_the_change_that_brings_it(self, history: History) -> None:
        history.git("rm", "-q", "metrics_policy.yaml")
        history.git("commit", "-qm", "none")
        history.write("metrics_policy.yaml", POLICY)
        history.write_results(BASE_ERRORS | set(range(1, 500, 10)))
        history.relock()
        assert judge("main")[0] == FAIL

    def test_without_any_policy_nobody_can_tell(self, history: History) -> None:
        history.git("rm", "-q", "metrics_policy.yaml")
        history.git("commit", "-qm", "none")
        assert "metrics_policy.yaml of working tree: is missing" in reasons("HEAD")


@pytest.mark.fault(41)
class TestMetrics:
    """What a metric can be besides a number."""

    def test_missing(self, history: History) -> None:
        history.write_metrics(test_f1=0.988, test_loss=0.048)
        history.relock()
        outcome, markdown = judge()
        assert outcome == FAIL
        assert row(markdown, "test_acc") == "| **`test_acc`** | 0.9880 | missing |  | 0.001 | ❌ |"

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (float("nan"), "NaN"),
            (float("inf"), "infinite"),
            (-float("inf"), "infinite"),
            (10**400, "infinite"),
            ("0.99", "not a number: `0.99`"),
            (True, "not a number: `True`"),
            (None, "not a number: `None`"),
            ([0.99], "not a number: `[0.99]`"),
        ],
    )
    def test_a_value_that_is_not_a_number(self, history: History, value: object, shown: str) -> None:
        history.write_metrics(test_acc=value, test_f1=0.988, test_loss=0.048, other=value)
        history.relock()
        history.commit("no number")
        outcome, markdown = judge("main~1", "main")
        assert outcome == FAIL
        assert f"`test_acc`: {shown}" in markdown
        assert row(markdown, "test_acc") == f"| **`test_acc`** | 0.9880 | {shown} |  | 0.001 | ❌ |"
        assert row(markdown, "other") == f"| `other` | missing | {shown} |  |  |  |"

        history.write_results(BASE_ERRORS)
        history.relock()
        outcome, markdown = judge("main")
        assert outcome == UNKNOWN, "the old value is not a number, so nobody knows what was lost"
        assert f"the old value is not a number: {shown}" in markdown

    def test_added_and_removed(self, history: History) -> None:
        history.write_metrics(test_acc=0.988, test_f1=0.987657, test_loss=0.048, other=1)
        history.train_anew("one more")
        history.relock()
        history.commit("one more")
        _, markdown = judge("main~1", "main")
        assert row(markdown, "other") == "| `other` | missing | 1 |  |  |  |"
        outcome, markdown = judge("main", "main~1")
        assert outcome == PASS
        assert row(markdown, "other") == "| `other` | 1 | missing |  |  |  |"

    def test_a_required_metric_that_is_new_cannot_be_judged(self, history: History) -> None:
        history.write_metrics(test_f1=0.987657, test_loss=0.048)
        history.relock()
        history.commit("without")
        history.write_results(BASE_ERRORS)
        history.relock()
        outcome, markdown = judge()
        assert outcome == UNKNOWN
        assert "`test_acc`: the base lacks it, so any value would pass" in markdown

    def test_a_rule_for_what_nobody_has_is_a_mistake(self, history: History) -> None:
        history.write("metrics_policy.yaml", POLICY.replace("test_acc: {better", "test_accuracy: {better"))
        history.commit("typo")
        assert judge()[0] == FAIL
        assert "test_accuracy: the policy names it, but neither revision has it" in reasons()

    @pytest.mark.parametrize("content", ["{", "[" * 5000, '{"test_acc": 0.98', "\x00"])
    def test_a_file_that_is_not_json(self, history: History, content: str) -> None:
        history.write("metrics/eval.json", content)
        history.relock()
        history.commit("broken")
        outcome, markdown = judge("main~1", "main")
        assert outcome == FAIL
        assert "`test_acc`, `test_f1`: its file cannot be read: " in markdown
        history.write_results(BASE_ERRORS)
        history.relock()
        assert judge("main")[0] == UNKNOWN, "the old values cannot be read"

    @pytest.mark.parametrize("content", ["[]", "{}", "7", '"text"'])
    def test_a_file_without_metrics(self, history: History, content: str) -> None:
        history.write("metrics/eval.json", content)
        history.relock()
        assert judge()[0] == FAIL
        assert reasons(check="metrics") == ["test_acc, test_f1: missing"]

    def test_a_broken_file_that_only_informs_is_shown(self, history: History) -> None:
        history.write("metrics/train.json", "{")
        history.train_anew("broken")
        history.relock()
        outcome, markdown = judge()
        assert outcome == PASS
        assert "| `metrics/train.json` | " in markdown
        assert "its file cannot be read" in markdown

    def test_one_name_in_two_files(self, history: History) -> None:
        history.write("metrics/train.json", json.dumps({"test_acc": 0.1}))
        history.relock()
        _, markdown = judge()
        assert "| 0.9880 | 0.9880 |" in row(markdown, "metrics/eval.json:test_acc")
        assert "| missing | 0.1000 |" in row(markdown, "metrics/train.json:test_acc")

    def test_nested_names(self, history: History) -> None:
        history.write(
            "metrics/eval.json", json.dumps({"test_acc": 0.988, "test_f1": 0.988, "a": {"b": {"c": 1}, "d": {}}})
        )
        history.relock()
        _, markdown = judge()
        assert "`a.b.c`" in markdown
        assert row(markdown, "a.d") == "| `a.d` | missing | not a number: `{}` |  |  |  |"


def test_nothing_in_the_users_repository_is_touched(history: History) -> None:
    history.write_results(BASE_ERRORS - {0})
    history.write("untracked", "mine")

    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in Path().rglob("*") if path.is_file()]
        # Git refreshes the time of a pack whose objects it finds again.
        return {str(p): (0 if ".pack" in p.name else p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    before = state()
    judge()
    judge("main", "HEAD")
    assert state() == before
