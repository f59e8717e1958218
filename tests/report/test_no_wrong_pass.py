"""Every known way to a false pass: what the branch does, the answer, and what the verdict must say."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.core.files import md5
from src.core.receipt import parse_receipt, receipt_path
from src.report.command import judge_revisions
from src.report.markdown import render_markdown
from src.report.verdict import Outcome
from tests.report.history import POLICY, History

BASE_ERRORS = set(range(0, 1200, 10))
PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
METRIC = "metrics/eval.json"
Attack = Callable[[History], Any]


def edit_yaml(history: History, change: Callable[[dict[str, Any]], Any], name: str = "dvc.yaml") -> None:
    yaml = YAML()
    content = yaml.load(history.path / name)
    change(content["stages"])
    if METRIC not in str(content["stages"]):
        content["metrics"] = [METRIC]
    with (history.path / name).open("w") as file:
        yaml.dump(content, file)


def append(history: History, path: str, text: str = "# edited\n") -> None:
    with (history.path / path).open("a") as file:
        file.write(text)


def substitute(history: History, path: str, old: str, new: str) -> None:
    text = (history.path / path).read_text()
    assert old in text, old
    history.write(path, text.replace(old, new, 1))


def then_relock(*attacks: Attack) -> Attack:
    """The attacks, and hashes and receipts forged to fit."""

    def run(history: History) -> None:
        for attack in attacks:
            attack(history)
        history.relock()

    return run


def all_of(*attacks: Attack) -> Attack:
    def run(history: History) -> None:
        for attack in attacks:
            attack(history)

    return run


def without(stage: str, kind: str, path: str) -> Attack:
    """Drop an entry of a stage in dvc.yaml."""

    def named(entry: Any) -> str:
        return entry if isinstance(entry, str) else next(iter(entry))

    def drop(stages: dict[str, Any]) -> None:
        stages[stage][kind] = [entry for entry in stages[stage][kind] if named(entry) != path]

    return lambda history: edit_yaml(history, drop)


def wishful(history: History) -> None:
    history.write_metrics(test_acc=0.9999, test_f1=0.9999, test_loss=0.001)


def cut_table(name: str, rows: int = 20) -> Attack:
    def cut(history: History) -> None:
        lines = (history.path / name).read_text().splitlines(keepends=True)
        history.write(name, "".join(lines[:-rows]))

    return cut


def edit(path: str) -> Attack:
    return lambda history: append(history, path)


def put(path: str, text: str) -> Attack:
    return lambda history: history.write(path, text)


def swap(path: str, old: str, new: str) -> Attack:
    return lambda history: substitute(history, path, old, new)


def other_hash(path: str) -> Attack:
    return lambda history: history.hashes.update({path: "0" * 32})


def in_stage(stage: str, **entries: Any) -> Attack:
    return lambda history: edit_yaml(history, lambda stages: stages.setdefault(stage, {}).update(entries))


def delete_stage(history: History) -> None:
    edit_yaml(history, lambda stages: stages.pop("evaluate"))


def receipt(change: Callable[[dict[str, Any]], Any]) -> Attack:
    """Edit what the training recorded about itself, and lock it."""

    def write(history: History) -> None:
        content = parse_receipt((history.path / receipt_path("train")).read_text())
        change(content)
        history.write_receipt(content.pop("stage"), **content)
        relock_file(history, receipt_path("train"))

    return write


def relock_file(history: History, path: str) -> None:
    lock = (history.path / "dvc.lock").read_text()
    history.write(
        "dvc.lock", re.sub(rf"(path: {path}\n +hash: md5\n +md5: )\w+", rf"\g<1>{md5(history.path / path)}", lock)
    )


def link(path: str, target: str) -> Attack:
    def make(history: History) -> None:
        (history.path / path).unlink(missing_ok=True)
        (history.path / path).symlink_to(target)

    return make


def cached_metric(history: History) -> None:
    substitute(history, "dvc.yaml", "metrics/eval.json: {cache: false}", "metrics/eval.json: {cache: true}")
    history.relock()
    (history.path / METRIC).unlink()


CASES: dict[str, tuple[Attack, Outcome, str]] = {
    # dvc.lock untouched
    "metric moved to the top level": (
        all_of(without("evaluate", "metrics", METRIC), wishful),
        FAIL,
        "`metrics/eval.json` has metrics that gate, but dvc.lock records no run of the stage `evaluate`",
    ),
    "evaluate deleted, its metrics kept": (all_of(delete_stage, wishful), FAIL, "`evaluate`: was removed"),
    "table dropped and cut": (
        all_of(without("evaluate", "plots", "plots/errors.csv"), cut_table("plots/errors.csv")),
        FAIL,
        "output `plots/errors.csv` was removed",
    ),
    "dependency dropped and edited": (
        all_of(without("train", "deps", "src/model"), edit("src/model/network.py")),
        FAIL,
        "dependency `src/model` was removed",
    ),
    "param dropped and changed": (
        all_of(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        FAIL,
        "param `params.yaml:lr` was removed",
    ),
    "code edited": (edit("src/train/classifier.py"), FAIL, "dvc.lock is stale"),
    "metric edited": (wishful, FAIL, "`metrics/eval.json` differs from what dvc.lock records"),
    "stage kept in dvc.lock only": (delete_stage, FAIL, "dvc.lock is stale: `dvc repro` would run `evaluate`"),
    # hashes and receipts forged
    "evaluate deleted and unlocked": (
        then_relock(delete_stage, wishful),
        FAIL,
        "dvc.lock records no run of the stage `evaluate`",
    ),
    "metric made by another stage": (
        then_relock(
            without("evaluate", "metrics", METRIC),
            in_stage("other", cmd="echo", metrics=[{METRIC: {"cache": False}}]),
        ),
        FAIL,
        "dvc.lock records no run of the stage `evaluate`",
    ),
    "table dropped and unlocked": (
        then_relock(without("evaluate", "plots", "plots/errors.png")),
        UNKNOWN,
        "output `plots/errors.png` was removed",
    ),
    "dependency dropped and unlocked": (
        then_relock(without("train", "deps", "src/model"), edit("src/model/network.py")),
        UNKNOWN,
        "dependency `src/model` was removed",
    ),
    "param dropped and unlocked": (
        then_relock(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        UNKNOWN,
        "param `params.yaml:lr` was removed",
    ),
    "command changed": (
        then_relock(swap("dvc.yaml", "__main__.py evaluate", "__main__.py evaluate --kindly")),
        UNKNOWN,
        "`evaluate`: its command is now `python -I stages/__main__.py evaluate --kindly`",
    ),
    "stage frozen": (then_relock(in_stage("train", frozen=True)), UNKNOWN, "`train`: its settings changed"),
    "accuracy against the tables": (
        then_relock(wishful),
        FAIL,
        "has test_acc 0.9999, but plots/confusion.csv gives 0.98",
    ),
    "F1 against the tables": (
        then_relock(swap(METRIC, '"test_f1": 0.98', '"test_f1": 0.99')),
        FAIL,
        "metrics/eval.json has test_f1",
    ),
    "errors cut": (
        then_relock(cut_table("plots/errors.csv")),
        FAIL,
        "plots/errors.csv (100 errors) and plots/confusion.csv (120) disagree",
    ),
    "confusion cut": (
        then_relock(cut_table("plots/confusion.csv")),
        FAIL,
        "plots/per_class.csv contradicts plots/confusion.csv in class 9",
    ),
    "confusion edited": (
        then_relock(swap("plots/confusion.csv", "0,1,", "0,1,7")),
        FAIL,
        "plots/per_class.csv contradicts plots/confusion.csv in class 0",
    ),
    "class edited": (
        then_relock(swap("plots/per_class.csv", "1000\n1,0.9862,", "1000\n1,0.5,")),
        FAIL,
        "plots/per_class.csv contradicts plots/confusion.csv in class 1",
    ),
    "image beyond the test set": (
        then_relock(swap("plots/errors.csv", "\n0,0,", "\n10000,0,")),
        FAIL,
        "names images beyond the 10,000",
    ),
    "image twice": (then_relock(swap("plots/errors.csv", "\n10,0,", "\n0,0,")), UNKNOWN, "an index appears twice"),
    "half an image": (then_relock(swap("plots/confusion.csv", "0,1,", "0,1,0.5")), UNKNOWN, "expected whole numbers"),
    "other columns of the errors": (
        then_relock(swap("plots/errors.csv", "confidence", "sureness")),
        UNKNOWN,
        "plots/errors.csv of HEAD: expected numbers in the columns",
    ),
    "other columns of the history": (
        then_relock(swap("plots/history.csv", "val_acc", "accuracy")),
        UNKNOWN,
        "plots/history.csv of HEAD: expected numbers in the columns",
    ),
    # not comparable
    "another dataset": (
        then_relock(other_hash("data/MNIST"), swap("params.yaml", "dataset: mnist", "dataset: digits")),
        UNKNOWN,
        "`data/MNIST` changed: not comparable; to compare, score the base's model with both",
    ),
    "another evaluator": (
        then_relock(other_hash("models/model.safetensors"), edit("src/evaluate/scores.py")),
        UNKNOWN,
        "the evaluator changed, `src/evaluate`: not comparable",
    ),
    "another evaluator, another result": (
        then_relock(edit("stages/evaluate.py"), lambda history: history.write_results(BASE_ERRORS - {0})),
        UNKNOWN,
        "the evaluator changed, `stages/evaluate.py`: not comparable",
    ),
    "another evaluator, the same model and result": (
        then_relock(edit("src/evaluate/scores.py")),
        PASS,
        "the evaluator changed, but gives the same model the same scores: `src/evaluate`",
    ),
    "code of training and evaluation": (
        then_relock(other_hash("models/model.safetensors"), edit("src/model/network.py")),
        PASS,
        "the evaluation uses code that changed: `src/model`",
    ),
    # rules and definitions
    "policy renames a metric first": (
        swap("metrics_policy.yaml", "test_acc", "test_accuracy"),
        FAIL,
        "metrics_policy.yaml of HEAD: lets test_accuracy decide, which is missing",
    ),
    "policy loosened": (
        swap("metrics_policy.yaml", "tolerated: 0.001", "tolerated: 0.5"),
        PASS,
        "This change edits metrics_policy.yaml; it is judged by the base's.",
    ),
    "files hidden from DVC": (
        then_relock(lambda h: append(h, ".dvcignore", "network.py\n")),
        UNKNOWN,
        "`.dvcignore`: changed",
    ),
    "files hidden below": (
        put("src/model/.dvcignore", "network.py\n"),
        UNKNOWN,
        "src/model/.dvcignore of HEAD: hides files",
    ),
    "files converted by git": (put(".gitattributes", "*.py eol=crlf\n"), UNKNOWN, "`.gitattributes`: is new"),
    "another remote": (
        put(".dvc/config", "['remote \"x\"']\n    url = http://127.0.0.1:9\n"),
        UNKNOWN,
        "`.dvc/config`: changed",
    ),
    "another pipeline below": (put("more/dvc.yaml", "stages: {}\n"), UNKNOWN, "`more/dvc.yaml`: is new"),
    "stage added": (
        then_relock(in_stage("extra", cmd="echo", deps=["params.yaml"], outs=["extra"])),
        PASS,
        "definition changed: `extra`: is new",
    ),
    "metric kept in the cache": (
        cached_metric,
        UNKNOWN,
        "`test_acc`: its file is not in git, and nothing is fetched",
    ),
    # receipts
    "locked by hand": (
        all_of(edit("src/train/classifier.py"), lambda history: history.relock(receipts=False)),
        FAIL,
        "dvc.lock contradicts receipts/train.json in src/train: stage train was not run like that",
    ),
    "trained with another param": (
        receipt(lambda content: content["params"].update(lr=0.5)),
        FAIL,
        "dvc.lock contradicts receipts/train.json in params.yaml: lr",
    ),
    "another model": (
        receipt(lambda content: content["outs"].update({"models/model.safetensors": "0" * 32})),
        FAIL,
        "dvc.lock contradicts receipts/train.json in models/model.safetensors",
    ),
    "receipt deleted": (
        lambda history: (history.path / receipt_path("train")).unlink(),
        FAIL,
        "receipts/train.json: is missing",
    ),
    "receipt is no receipt": (
        all_of(put(receipt_path("train"), "[" * 5000), lambda history: relock_file(history, receipt_path("train"))),
        FAIL,
        "receipts/train.json of HEAD: is not JSON",
    ),
    "receipt no longer declared": (
        then_relock(without("train", "metrics", receipt_path("train"))),
        UNKNOWN,
        "output `receipts/train.json` was removed",
    ),
    "made with other versions": (
        swap("requirements.txt", "torch==2.15.0", "torch==2.16.0"),
        UNKNOWN,
        "`train` was made with `torch 2.15.0`, requirements.txt pins `2.16.0`",
    ),
    "made with other versions than the lock file's": (
        swap("requirements.lock", "torch==2.15.0", "torch==2.16.0"),
        UNKNOWN,
        "`train` was made with `torch 2.15.0`, requirements.lock pins `2.16.0`",
    ),
    # beyond what the report reads
    "metric is a link": (link(METRIC, "train.json"), UNKNOWN, "metrics/eval.json of HEAD: is a symbolic link"),
    "code is a link": (link("src/core/idx.py", "files.py"), UNKNOWN, "src/core/idx.py of HEAD: is a symbolic link"),
    "link to itself": (link("params.yaml", "params.yaml"), UNKNOWN, "params.yaml of HEAD: is a symbolic link"),
    "link out of the repository": (
        link("metrics_policy.yaml", "/etc/passwd"),
        UNKNOWN,
        "metrics_policy.yaml of HEAD: is a symbolic",
    ),
    "template": (in_stage("train", deps=["${dep}"]), UNKNOWN, "without templates"),
    "path outside": (in_stage("train", deps=["../secret"]), UNKNOWN, "expected a path within the repository"),
    "foreach": (in_stage("many", foreach=["a"], do={"cmd": "echo"}), UNKNOWN, "stages.many.foreach: Extra inputs"),
    "hash twice": (
        lambda history: edit_yaml(history, lambda s: s["train"]["outs"].append(s["train"]["outs"][0]), "dvc.lock"),
        UNKNOWN,
        "dvc.lock of HEAD: train: models/model.safetensors is listed twice",
    ),
    "output twice": (in_stage("extra", cmd="echo", outs=["models"]), UNKNOWN, "is made by more than one stage"),
}


@pytest.mark.parametrize("case", CASES)
def test_case(history: History, case: str) -> None:
    attack, outcome, words = CASES[case]
    attack(history)
    history.commit(case)
    answer, verdict = verdict_of("main~1", "HEAD")
    assert words in verdict
    assert answer is outcome, verdict


def verdict_of(base: str, head: str, reproduced: str = "not-tried") -> tuple[Outcome, str]:
    """The answer and the first section, without the page, whose library takes a second to bundle."""
    document, outcome = judge_revisions(base, head, reproduced)
    return outcome, render_markdown(document).split("\n### ")[1]


def test_a_rename_that_was_prepared_in_the_policy_cannot_be_judged(history: History) -> None:
    """Where the base's policy already names the new metric, there is still no old value of it."""
    history.write("metrics_policy.yaml", POLICY.replace("test_acc", "test_accuracy"))
    history.commit("policy first")
    substitute(history, METRIC, "test_acc", "test_accuracy")
    history.relock()
    history.commit("then the rename")
    assert verdict_of("main~1", "HEAD")[0] is UNKNOWN


@pytest.mark.parametrize(
    ("given", "outcome", "words"),
    [
        ("yes", PASS, "- reproduced: "),
        ("no", FAIL, "- not reproduced: "),
        ("not-tried", PASS, "- not tried: the pipeline was not run again"),
    ],
)
@pytest.mark.usefixtures("history")
def test_the_result_of_running_it_again(given: str, outcome: Outcome, words: str) -> None:
    answer, verdict = verdict_of("main", "HEAD", given)
    assert answer is outcome
    assert words in verdict


def test_commits_before_there_were_receipts(history: History) -> None:
    for stage in ("fetch", "train", "evaluate"):
        without(stage, "metrics", receipt_path(stage))(history)
    history.relock()
    history.commit("no receipts")
    outcome, verdict = verdict_of("HEAD", "HEAD")
    assert outcome is PASS
    assert "neither revision has receipts" in verdict
