"""Every known way to a false pass: what the branch does, the answer, and what the verdict must say."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.core.files import md5
from src.core.receipt import parse_receipt, receipt_path
from src.noise.measurement import NOISE
from src.report.command import judge_revisions
from src.report.markdown import render_markdown
from src.report.verdict import Outcome
from tests.unit.history import POLICY, TRAINS, History
from tests.unit.server import Server

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


def edit_text(path: str, text: str) -> Attack:
    return lambda history: append(history, path, text)


def put(path: str, text: str) -> Attack:
    return lambda history: history.write(path, text)


def force(path: str, text: str) -> Attack:
    """A file that git is told to ignore."""
    return all_of(put(path, text), lambda history: history.git("add", "--force", path))


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


def better(history: History) -> None:
    """Other results from the inputs that the base has, the code of the training included."""
    code = (history.path / TRAINS).read_text()
    history.write_results(BASE_ERRORS - set(range(0, 600, 10)))
    history.write(TRAINS, code)


def fewer_images(history: History) -> None:
    """Results that fit each other, of the 100 images that are easiest."""
    history.train_anew("other")
    wishful(history)
    history.write_metrics(test_acc=1.0, test_f1=1.0, test_loss=0.001)
    cut_table("plots/errors.csv", 120)(history)
    rows = [f"{actual},{pred},{10 if actual == pred else 0}\n" for actual in range(10) for pred in range(10)]
    history.write("plots/confusion.csv", "actual,predicted,count\n" + "".join(rows))
    classes = [f"{label},1,1,1,10\n" for label in range(10)]
    history.write("plots/per_class.csv", "class,precision,recall,f1,images\n" + "".join(classes))


def other_labels(history: History) -> None:
    """The same counts, but image 0 has the label of image 1 and the other way round."""
    history.write_results((BASE_ERRORS | {1, 3}) - {10, 20})
    lines = (history.path / "plots/errors.csv").read_text().splitlines()
    first, second = (line.split(",") for line in lines[1:3])
    first[0], second[0] = second[0], first[0]
    history.write("plots/errors.csv", "\n".join([lines[0], ",".join(first), ",".join(second), *lines[3:], ""]))


def pins(requirements: str, lock: str = "") -> Attack:
    """Other words for torch==2.15.0 in the two files of pins."""
    both = (("requirements.txt", requirements), ("requirements.lock", lock or requirements))
    return all_of(*(swap(path, "torch==2.15.0", words) for path, words in both))


NOT_PINNED = "`train` was made with `torch 2.15.0`, which requirements.txt does not pin"


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
        "output removed: `plots/errors.csv`",
    ),
    "dependency dropped and edited": (
        all_of(without("train", "deps", "src/mnist/model"), edit("src/mnist/model/network.py")),
        FAIL,
        "dependency removed: `src/mnist/model`",
    ),
    "param dropped and changed": (
        all_of(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        FAIL,
        "param removed: `params.yaml:lr`",
    ),
    "code edited": (edit("src/mnist/train/classifier.py"), FAIL, "dvc.lock is stale"),
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
        "output removed: `plots/errors.png`",
    ),
    "dependency dropped and unlocked": (
        then_relock(without("train", "deps", "src/mnist/model"), edit("src/mnist/model/network.py")),
        UNKNOWN,
        "dependency removed: `src/mnist/model`",
    ),
    "param dropped and unlocked": (
        then_relock(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        UNKNOWN,
        "param removed: `params.yaml:lr`",
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
    "fewer images": (
        then_relock(fewer_images),
        UNKNOWN,
        "the data is the same, but plots/per_class.csv has other numbers of images",
    ),
    "other labels": (
        then_relock(other_labels),
        UNKNOWN,
        "the data is the same, but plots/errors.csv has other labels for it",
    ),
    "other results from the same inputs": (
        then_relock(better),
        UNKNOWN,
        "`evaluate`: the same inputs gave another `metrics/eval.json`",
    ),
    "another model from the same inputs": (
        then_relock(better, other_hash("models/model.safetensors")),
        UNKNOWN,
        "`train`: the same inputs gave another `models/model.safetensors`",
    ),
    "minus zero": (then_relock(swap(METRIC, '"test_acc": 0.98', '"test_acc": -0.0, "x": 0.98')), FAIL, "test_acc -0,"),
    "beyond the largest number": (
        then_relock(swap(METRIC, '"test_acc": 0.98', '"test_acc": 1e999, "x": 0.98')),
        FAIL,
        "`test_acc`: infinite",
    ),
    "metric twice": (
        then_relock(swap(METRIC, '"test_acc"', '"test_acc": 0.9999, "test_acc"')),
        FAIL,
        "`test_acc`: its file cannot be read",
    ),
    "metric renamed": (then_relock(swap(METRIC, "test_acc", "test_acc​")), FAIL, "`test_acc`: missing"),
    "metrics file renamed": (
        then_relock(
            swap("dvc.yaml", METRIC, "metrics/evaI.json"),
            lambda history: (history.path / METRIC).rename(history.path / "metrics/evaI.json"),
        ),
        FAIL,
        "dvc.lock records no run of the stage `evaluate`",
    ),
    # not comparable
    "another dataset": (
        then_relock(other_hash("data/MNIST"), swap("params.yaml", "dataset: mnist", "dataset: digits")),
        UNKNOWN,
        "`data/MNIST` changed: not comparable; to compare, score the base's model with both",
    ),
    "another evaluator": (
        then_relock(other_hash("models/model.safetensors"), edit("src/mnist/evaluate/scores.py")),
        UNKNOWN,
        "the evaluator changed, `src/mnist/evaluate`: not comparable",
    ),
    "another evaluator, another result": (
        then_relock(edit("stages/evaluate.py"), lambda history: history.write_results(BASE_ERRORS - {0})),
        UNKNOWN,
        "the evaluator changed, `stages/evaluate.py`: not comparable",
    ),
    "another evaluator, the same model and result": (
        then_relock(edit("src/mnist/evaluate/scores.py")),
        PASS,
        "the evaluator changed, but gives the same model the same scores: `src/mnist/evaluate`",
    ),
    "code of training and evaluation": (
        then_relock(other_hash("models/model.safetensors"), edit("src/mnist/model/network.py")),
        PASS,
        "the evaluation uses code that changed: `src/mnist/model`",
    ),
    "the same model, other scores": (
        then_relock(edit("src/mnist/data/dataset.py"), better, other_hash("models/model.safetensors")),
        PASS,
        "the evaluation uses code that changed: `src/mnist/data`",
    ),
    "the same model, other scores from shared code": (
        then_relock(edit("src/mnist/data/dataset.py"), better),
        UNKNOWN,
        "the same model got other scores from `src/mnist/data`: not comparable",
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
    "policy deleted": (
        lambda history: (history.path / "metrics_policy.yaml").unlink(),
        FAIL,
        "metrics_policy.yaml: is missing in HEAD",
    ),
    "noise planted": (
        put(NOISE, "[]"),
        PASS,
        "This change edits metrics_noise.json; it is judged by the base's.",
    ),
    "noise that is none": (put(NOISE, "nonsense"), FAIL, "metrics_noise.json of HEAD: "),
    "checks edited": (
        put(".github/workflows/checks.yml", "jobs: {}\n"),
        PASS,
        "this change edits its own checks, which then prove little: `.github/workflows/checks.yml`",
    ),
    "source made by a stage": (
        then_relock(in_stage("make", cmd="python make.py", outs=["src/mnist/train"])),
        UNKNOWN,
        "`make`: makes what was a source: `src/mnist/train`",
    ),
    "source made within a folder": (
        then_relock(in_stage("make", cmd="python make.py", outs=["src/mnist/train/made.py"])),
        UNKNOWN,
        "`make`: makes what was a source: `src/mnist/train/made.py`",
    ),
    "pins made by a stage of old": (
        then_relock(lambda h: edit_yaml(h, lambda stages: stages["fetch"]["outs"].append("requirements.txt"))),
        UNKNOWN,
        "`fetch`: makes what was a source: `requirements.txt`",
    ),
    "output kept from run to run": (
        then_relock(swap("dvc.yaml", f"{METRIC}: {{cache: false}}", f"{METRIC}: {{cache: false, persist: true}}")),
        UNKNOWN,
        "`evaluate`: output `metrics/eval.json` has other options",
    ),
    "plot shown otherwise": (
        then_relock(swap("dvc.yaml", "title: Learning rate", "title: Rate")),
        PASS,
        "`train`: output `plots/history.csv` has other options",
    ),
    "stage always run": (then_relock(in_stage("train", always_changed=True)), UNKNOWN, "`train`: its settings changed"),
    "files hidden from DVC": (
        then_relock(lambda h: append(h, ".dvcignore", "network.py\n")),
        UNKNOWN,
        "`.dvcignore`: changed",
    ),
    "files hidden below": (
        put("src/mnist/model/.dvcignore", "network.py\n"),
        UNKNOWN,
        "src/mnist/model/.dvcignore of HEAD: hides files",
    ),
    "files converted by git": (put(".gitattributes", "*.py eol=crlf\n"), UNKNOWN, "`.gitattributes`: is new"),
    "another remote": (
        put(".dvc/config", "['remote \"x\"']\n    url = http://127.0.0.1:9\n"),
        UNKNOWN,
        "`.dvc/config`: changed",
    ),
    "another remote for this clone": (
        force(".dvc/config.local", "['remote \"x\"']\n    url = http://127.0.0.1:9\n"),
        UNKNOWN,
        "`.dvc/config.local`: is new",
    ),
    "object for the cache": (
        force(".dvc/cache/files/md5/00/11", "model"),
        UNKNOWN,
        "`.dvc/cache/files/md5/00/11`: is new",
    ),
    "folder of code that DVC tracks": (
        put("src/mnist/model.dvc", f"outs:\n- path: model\n  md5: {'0' * 32}.dir\n"),
        UNKNOWN,
        "`src/mnist/model.dvc`: is new",
    ),
    "another pipeline below": (put("more/dvc.yaml", "stages: {}\n"), UNKNOWN, "`more/dvc.yaml`: is new"),
    "stage added": (
        then_relock(in_stage("extra", cmd="echo", deps=["params.yaml"], outs=["extra"])),
        PASS,
        "definition changed: `extra`: is new and runs `echo`",
    ),
    "metric kept in the cache": (
        cached_metric,
        UNKNOWN,
        "`test_acc`: its file is not in git, and nothing is fetched",
    ),
    # receipts
    "locked by hand": (
        all_of(edit("src/mnist/train/classifier.py"), lambda history: history.relock(receipts=False)),
        FAIL,
        "dvc.lock contradicts receipts/train.json in src/mnist/train: stage train was not run like that",
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
        "output removed: `receipts/train.json`",
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
    "pin with spaces": (pins("torch == 2.16.0"), UNKNOWN, "`torch 2.15.0`, requirements.txt pins `2.16.0`"),
    "pin with extras": (pins("torch[opt]==2.16.0"), UNKNOWN, "`torch 2.15.0`, requirements.txt pins `2.16.0`"),
    "pin for another platform": (
        pins("torch==2.16.0\ntorch==2.15.0; sys_platform == 'none'"),
        UNKNOWN,
        "`torch 2.15.0`, requirements.txt pins `2.16.0`",
    ),
    "pin loosened": (pins("torch>=2.15.0"), UNKNOWN, NOT_PINNED),
    "pin removed": (pins("# torch"), UNKNOWN, NOT_PINNED),
    "pins deleted": (lambda history: (history.path / "requirements.txt").unlink(), UNKNOWN, NOT_PINNED),
    "versions removed from a receipt": (
        receipt(lambda content: content["versions"].clear()),
        UNKNOWN,
        "`receipts/train.json` no longer has the version of `torch`",
    ),
    # beyond what the report reads
    "metric is a link": (link(METRIC, "train.json"), UNKNOWN, "metrics/eval.json of HEAD: is a symbolic link"),
    "code is a link": (
        link("src/mnist/data/idx.py", "dataset.py"),
        UNKNOWN,
        "src/mnist/data/idx.py of HEAD: is a symbolic link",
    ),
    "link to itself": (link("params.yaml", "params.yaml"), UNKNOWN, "params.yaml of HEAD: is a symbolic link"),
    "link out of the repository": (
        link("metrics_policy.yaml", "/etc/passwd"),
        UNKNOWN,
        "metrics_policy.yaml of HEAD: is a symbolic",
    ),
    "template": (in_stage("train", deps=["${dep}"]), UNKNOWN, "without templates"),
    "path outside": (in_stage("train", deps=["../secret"]), UNKNOWN, "expected a path within the project"),
    "foreach": (in_stage("many", foreach=["a"], do={"cmd": "echo"}), UNKNOWN, "stages.many.foreach: Extra inputs"),
    "hash twice": (
        lambda history: edit_yaml(history, lambda s: s["train"]["outs"].append(s["train"]["outs"][0]), "dvc.lock"),
        UNKNOWN,
        "is listed twice",
    ),
    "lock file in another format": (swap("dvc.lock", "'2.0'", "'1.0'"), UNKNOWN, "schema"),
    "variables": (edit_text("dvc.yaml", "vars: [{lr: 1}]\n"), UNKNOWN, "dvc.yaml of HEAD: vars: Extra inputs"),
    "another folder to run in": (in_stage("evaluate", wdir="src"), UNKNOWN, "stages.evaluate.wdir: Extra inputs"),
    "output twice": (in_stage("extra", cmd="echo", outs=["models"]), UNKNOWN, "is made by more than one stage"),
    "output twice in other words": (in_stage("evaluate", outs=["./metrics//eval.json"]), UNKNOWN, "is listed twice"),
    # In alphabetical order, another output stands between a folder and what lies in it.
    "output in an output": (
        in_stage("extra", cmd="echo", outs=["metrics", "metrics-2"]),
        UNKNOWN,
        "is made by more than one stage, or is in a folder that is an output",
    ),
    "table of a million rows": (
        put("plots/history.csv", "epoch,loss,acc,f1,val_loss,val_acc,val_f1\n" + "1,1,1,1,1,1,1\n" * 200_001),
        FAIL,
        "plots/history.csv of HEAD: expected at most 200,000 rows",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_case(history: History, case: str, server: Server) -> None:
    """The answer, whose value is the exit code, and no contact of the server that git and DVC would fetch from."""
    attack, outcome, words = CASES[case]
    server.is_remote_of(history)
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
