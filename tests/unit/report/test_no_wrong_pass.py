"""Every known way to a wrong pass: what the branch does, the answer, and the check that notices."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.core.files import md5
from src.core.receipt import parse_receipt, receipt_path
from src.noise.measurement import NOISE
from src.report.command import judge
from tests.unit.history import POLICY, TRAINS, History
from tests.unit.server import Server

BASE_ERRORS = set(range(0, 1200, 10))
PASS, FAIL, UNKNOWN = "pass", "fail", "could not tell"
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


def delete(path: str) -> Attack:
    return lambda history: (history.path / path).unlink()


def link_back(history: History) -> None:
    (history.path / "metrics_policy.yaml").unlink()


def nudge(name: str, amount: float) -> Attack:
    """A metric that is higher than its tables by so little."""

    def run(history: History) -> None:
        metrics = json.loads((history.path / METRIC).read_text())
        history.write_metrics(**{**metrics, name: round(metrics[name] + amount, 6)})

    return run


def round_up_a_class(history: History) -> None:
    header, first, *rest = (history.path / "plots/per_class.csv").read_text().splitlines()
    label, precision, *others = first.split(",")
    history.write(
        "plots/per_class.csv",
        "\n".join([header, f"{label},{float(precision) + 1e-4:.4f},{','.join(others)}", *rest, ""]),
    )


def other_hash_of_a_package(history: History) -> None:
    lock = (history.path / "requirements.lock").read_text()
    history.write("requirements.lock", re.sub(r"sha256:[0-9a-f]{4}", "sha256:0000", lock, count=1))


def copy_receipt(history: History) -> None:
    history.write(receipt_path("train"), (history.path / receipt_path("fetch")).read_text())


def relock_receipt(history: History) -> None:
    relock_file(history, receipt_path("train"))


def based_on(before: Attack, attack: Attack) -> Attack:
    """The attack on a base that something was done to."""

    def run(history: History) -> None:
        before(history)
        history.commit("base")
        attack(history)

    return run


def far_worse(history: History) -> None:
    history.write_results(BASE_ERRORS | set(range(1, 5000, 10)))
    history.relock()


def lax(history: History) -> None:
    history.write("metrics_policy.yaml", POLICY.replace("tolerated: 0.001", "tolerated: 0.9"))


def lock_entry(text: str) -> Attack:
    """More in dvc.lock about the model."""
    return lambda h: h.write(
        "dvc.lock",
        re.sub(
            r"(path: models/model.safetensors\n +hash: md5\n( +)md5: \w+\n)",
            rf"\g<1>\g<2>{text}\n",
            (h.path / "dvc.lock").read_text(),
            count=1,
        ),
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


CASES: dict[str, tuple[Attack, str, str]] = {
    # dvc.lock untouched
    "metric moved to the top level": (all_of(without("evaluate", "metrics", METRIC), wishful), FAIL, "recorded"),
    "evaluate deleted, its metrics kept": (all_of(delete_stage, wishful), FAIL, "stages"),
    "table dropped and cut": (
        all_of(without("evaluate", "plots", "plots/errors.csv"), cut_table("plots/errors.csv")),
        FAIL,
        "stages",
    ),
    "dependency dropped and edited": (
        all_of(without("train", "deps", "src/mnist/model"), edit("src/mnist/model/network.py")),
        FAIL,
        "stages",
    ),
    "param dropped and changed": (
        all_of(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        FAIL,
        "stages",
    ),
    "code edited": (edit("src/mnist/train/classifier.py"), FAIL, "lock"),
    "metric edited": (wishful, FAIL, "outputs"),
    "stage kept in dvc.lock only": (delete_stage, FAIL, "lock"),
    # hashes and receipts forged
    "evaluate deleted and unlocked": (then_relock(delete_stage, wishful), FAIL, "recorded"),
    "metric made by another stage": (
        then_relock(
            without("evaluate", "metrics", METRIC), in_stage("other", cmd="echo", metrics=[{METRIC: {"cache": False}}])
        ),
        FAIL,
        "recorded",
    ),
    "table dropped and unlocked": (then_relock(without("evaluate", "plots", "plots/errors.png")), UNKNOWN, "stages"),
    "dependency dropped and unlocked": (
        then_relock(without("train", "deps", "src/mnist/model"), edit("src/mnist/model/network.py")),
        UNKNOWN,
        "stages",
    ),
    "param dropped and unlocked": (
        then_relock(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        UNKNOWN,
        "stages",
    ),
    "command changed": (
        then_relock(swap("dvc.yaml", "__main__.py evaluate", "__main__.py evaluate --kindly")),
        UNKNOWN,
        "stages",
    ),
    "stage frozen": (then_relock(in_stage("train", frozen=True)), UNKNOWN, "stages"),
    "accuracy against the tables": (then_relock(wishful), FAIL, "tables"),
    "F1 against the tables": (then_relock(swap(METRIC, '"test_f1": 0.98', '"test_f1": 0.99')), FAIL, "tables"),
    "errors cut": (then_relock(cut_table("plots/errors.csv")), FAIL, "tables"),
    "confusion cut": (then_relock(cut_table("plots/confusion.csv")), FAIL, "tables"),
    "confusion edited": (then_relock(swap("plots/confusion.csv", "0,1,", "0,1,7")), FAIL, "tables"),
    "class edited": (then_relock(swap("plots/per_class.csv", "1000\n1,0.9862,", "1000\n1,0.5,")), FAIL, "tables"),
    "image beyond the test set": (then_relock(swap("plots/errors.csv", "\n0,0,", "\n10000,0,")), FAIL, "tables"),
    "image twice": (then_relock(swap("plots/errors.csv", "\n10,0,", "\n0,0,")), UNKNOWN, "tables"),
    "half an image": (then_relock(swap("plots/confusion.csv", "0,1,", "0,1,0.5")), UNKNOWN, "tables"),
    "other columns of the errors": (then_relock(swap("plots/errors.csv", "predicted", "answer")), UNKNOWN, "tables"),
    "other columns of the history": (then_relock(swap("plots/history.csv", "val_acc", "accuracy")), UNKNOWN, "curves"),
    "fewer images": (then_relock(fewer_images), UNKNOWN, "predictions"),
    "other labels": (then_relock(other_labels), UNKNOWN, "predictions"),
    "other results from the same inputs": (then_relock(better), UNKNOWN, "repeats"),
    "another model from the same inputs": (
        then_relock(better, other_hash("models/model.safetensors")),
        UNKNOWN,
        "repeats",
    ),
    "minus zero": (then_relock(swap(METRIC, '"test_acc": 0.98', '"test_acc": -0.0, "x": 0.98')), FAIL, "tables"),
    "beyond the largest number": (
        then_relock(swap(METRIC, '"test_acc": 0.98', '"test_acc": 1e999, "x": 0.98')),
        FAIL,
        "metrics",
    ),
    "metric twice": (then_relock(swap(METRIC, '"test_acc"', '"test_acc": 0.9999, "test_acc"')), FAIL, "metrics"),
    "metric renamed": (then_relock(swap(METRIC, "test_acc", "test_acc​")), FAIL, "metrics"),
    "metrics file renamed": (
        then_relock(
            swap("dvc.yaml", METRIC, "metrics/evaI.json"),
            lambda history: (history.path / METRIC).rename(history.path / "metrics/evaI.json"),
        ),
        FAIL,
        "recorded",
    ),
    # not comparable
    "another dataset": (
        then_relock(
            other_hash("data/MNIST/raw/t10k-images-idx3-ubyte"),
            swap("params.yaml", "dataset: mnist", "dataset: digits"),
        ),
        UNKNOWN,
        "data",
    ),
    "another evaluator": (
        then_relock(other_hash("models/model.safetensors"), edit("src/mnist/evaluate/scores.py")),
        UNKNOWN,
        "scorer",
    ),
    "another evaluator, another result": (
        then_relock(edit("stages/evaluate.py"), lambda history: history.write_results(BASE_ERRORS - {0})),
        UNKNOWN,
        "scorer",
    ),
    "another evaluator, the same model and result": (
        then_relock(edit("src/mnist/evaluate/scores.py")),
        UNKNOWN,
        "scorer",
    ),
    "code of training and evaluation": (
        then_relock(other_hash("models/model.safetensors"), edit("src/mnist/model/network.py")),
        UNKNOWN,
        "scorer",
    ),
    "the same model, other scores": (
        then_relock(edit("src/mnist/data/dataset.py"), better, other_hash("models/model.safetensors")),
        UNKNOWN,
        "scorer",
    ),
    "the same model, other scores from shared code": (
        then_relock(edit("src/mnist/data/dataset.py"), better),
        UNKNOWN,
        "scorer",
    ),
    # rules and definitions
    "policy renames a metric first": (swap("metrics_policy.yaml", "test_acc", "test_accuracy"), FAIL, "policy"),
    "policy loosened": (swap("metrics_policy.yaml", "tolerated: 0.001", "tolerated: 0.5"), PASS, "policy"),
    "policy deleted": (lambda history: (history.path / "metrics_policy.yaml").unlink(), FAIL, "policy"),
    "noise planted": (put(NOISE, "[]"), PASS, "noise"),
    "noise that is none": (put(NOISE, "nonsense"), FAIL, "noise"),
    "checks edited": (put(".github/workflows/checks.yml", "jobs: {}\n"), UNKNOWN, "installed"),
    "source made by a stage": (
        then_relock(in_stage("make", cmd="python make.py", outs=["src/mnist/train"])),
        UNKNOWN,
        "stages",
    ),
    "source made within a folder": (
        then_relock(in_stage("make", cmd="python make.py", outs=["src/mnist/train/made.py"])),
        UNKNOWN,
        "stages",
    ),
    "pins made by a stage of old": (
        then_relock(lambda h: edit_yaml(h, lambda stages: stages["fetch"]["outs"].append("requirements.txt"))),
        UNKNOWN,
        "stages",
    ),
    "output kept from run to run": (
        then_relock(swap("dvc.yaml", f"{METRIC}: {{cache: false}}", f"{METRIC}: {{cache: false, persist: true}}")),
        UNKNOWN,
        "stages",
    ),
    "plot shown otherwise": (then_relock(swap("dvc.yaml", "title: Learning rate", "title: Rate")), PASS, "stages"),
    "stage always run": (then_relock(in_stage("train", always_changed=True)), UNKNOWN, "stages"),
    "files hidden from DVC": (then_relock(lambda h: append(h, ".dvcignore", "network.py\n")), UNKNOWN, "files"),
    "files hidden below": (put("src/mnist/model/.dvcignore", "network.py\n"), UNKNOWN, "lock"),
    "files converted by git": (put(".gitattributes", "*.py eol=crlf\n"), UNKNOWN, "files"),
    "another remote": (put(".dvc/config", "['remote \"x\"']\n    url = http://127.0.0.1:9\n"), UNKNOWN, "files"),
    "another remote for this clone": (
        force(".dvc/config.local", "['remote \"x\"']\n    url = http://127.0.0.1:9\n"),
        UNKNOWN,
        "files",
    ),
    "object for the cache": (force(".dvc/cache/files/md5/00/11", "model"), UNKNOWN, "files"),
    "folder of code that DVC tracks": (
        put("src/mnist/model.dvc", f"outs:\n- path: model\n  md5: {'0' * 32}.dir\n"),
        UNKNOWN,
        "files",
    ),
    "another pipeline below": (put("more/dvc.yaml", "stages: {}\n"), UNKNOWN, "files"),
    "stage added": (then_relock(in_stage("extra", cmd="echo", deps=["params.yaml"], outs=["extra"])), PASS, "stages"),
    "metric kept in the cache": (cached_metric, UNKNOWN, "metrics"),
    # receipts
    "locked by hand": (
        all_of(edit("src/mnist/train/classifier.py"), lambda history: history.relock(receipts=False)),
        FAIL,
        "receipts",
    ),
    "trained with another param": (receipt(lambda content: content["params"].update(lr=0.5)), FAIL, "receipts"),
    "another model": (
        receipt(lambda content: content["outs"].update({"models/model.safetensors": "0" * 32})),
        FAIL,
        "receipts",
    ),
    "receipt deleted": (lambda history: (history.path / receipt_path("train")).unlink(), FAIL, "receipts"),
    "receipt is no receipt": (
        all_of(put(receipt_path("train"), "[" * 5000), lambda history: relock_file(history, receipt_path("train"))),
        FAIL,
        "receipts",
    ),
    "receipt no longer declared": (then_relock(without("train", "metrics", receipt_path("train"))), UNKNOWN, "stages"),
    "made with other versions": (
        then_relock(swap("requirements.txt", "torch==2.15.0", "torch==2.16.0")),
        UNKNOWN,
        "versions",
    ),
    "made with other versions than the lock file's": (
        then_relock(swap("requirements.lock", "torch==2.15.0", "torch==2.16.0")),
        UNKNOWN,
        "versions",
    ),
    "pin with spaces": (then_relock(pins("torch == 2.16.0")), UNKNOWN, "versions"),
    "pin with extras": (then_relock(pins("torch[opt]==2.16.0")), UNKNOWN, "versions"),
    "pin for another platform": (
        then_relock(pins("torch==2.16.0\ntorch==2.15.0; sys_platform == 'none'")),
        UNKNOWN,
        "versions",
    ),
    "pin loosened": (then_relock(pins("torch>=2.15.0")), UNKNOWN, "versions"),
    "pin removed": (then_relock(pins("# torch")), UNKNOWN, "versions"),
    "pins deleted": (lambda history: (history.path / "requirements.txt").unlink(), FAIL, "versions"),
    "versions removed from a receipt": (receipt(lambda content: content["versions"].clear()), UNKNOWN, "versions"),
    "receipt of another stage": (all_of(copy_receipt, relock_receipt), FAIL, "receipts"),
    "param of another type in a receipt": (
        receipt(lambda content: content["params"].update(shards=True)),
        FAIL,
        "receipts",
    ),
    # beyond what the report reads
    "metric is a link": (link(METRIC, "train.json"), UNKNOWN, "policy"),
    "code is a link": (link("src/mnist/data/idx.py", "dataset.py"), UNKNOWN, "lock"),
    "link to itself": (link("params.yaml", "params.yaml"), UNKNOWN, "lock"),
    "link out of the repository": (link("metrics_policy.yaml", "/etc/passwd"), UNKNOWN, "policy"),
    "template": (in_stage("train", deps=["${dep}"]), UNKNOWN, "results"),
    "path outside": (in_stage("train", deps=["../secret"]), UNKNOWN, "results"),
    "foreach": (in_stage("many", foreach=["a"], do={"cmd": "echo"}), UNKNOWN, "results"),
    "hash twice": (
        lambda history: edit_yaml(history, lambda s: s["train"]["outs"].append(s["train"]["outs"][0]), "dvc.lock"),
        UNKNOWN,
        "results",
    ),
    "lock file in another format": (swap("dvc.lock", "'2.0'", "'1.0'"), UNKNOWN, "results"),
    "variables": (edit_text("dvc.yaml", "vars: [{lr: 1}]\n"), UNKNOWN, "results"),
    "another folder to run in": (in_stage("evaluate", wdir="src"), UNKNOWN, "results"),
    "output twice": (in_stage("extra", cmd="echo", outs=["models"]), UNKNOWN, "results"),
    "output twice in other words": (in_stage("evaluate", outs=["./metrics//eval.json"]), UNKNOWN, "results"),
    # In alphabetical order, another output stands between a folder and what lies in it.
    "output in an output": (in_stage("extra", cmd="echo", outs=["metrics", "metrics-2"]), UNKNOWN, "results"),
    "table of a million rows": (
        put("plots/history.csv", "epoch,loss,acc,f1,val_loss,val_acc,val_f1\n" + "1,1,1,1,1,1,1\n" * 200_001),
        FAIL,
        "curves",
    ),
}

HOLES: dict[str, tuple[Attack, str, str]] = {
    # the base's policy does not validate
    **{
        f"policy of the base {name}": (
            based_on(put("metrics_policy.yaml", text), all_of(far_worse, lax)),
            UNKNOWN,
            "policy",
        )
        for name, text in {
            "with an unknown key": POLICY + "extra: 1\n",
            "is empty": "",
            "is no YAML": "metrics: [",
            "is a list": "[]",
            "is too long": POLICY + "#" * 100_000,
            "is from the future": POLICY.replace("version: 2", "version: 3"),
        }.items()
    },
    "policy of the base is a link": (
        based_on(link("metrics_policy.yaml", "params.yaml"), all_of(link_back, far_worse, lax)),
        UNKNOWN,
        "policy",
    ),
    "policy of the base is a folder": (
        based_on(
            all_of(delete("metrics_policy.yaml"), put("metrics_policy.yaml/x", "1")),
            all_of(delete("metrics_policy.yaml/x"), lambda h: (h.path / "metrics_policy.yaml").rmdir(), far_worse, lax),
        ),
        UNKNOWN,
        "policy",
    ),
    "noise of the base is malformed": (based_on(put(NOISE, "[7]"), edit("README.md")), UNKNOWN, "noise"),
    # the scorer
    **{
        f"scorer: {path}": (then_relock(put(path, "SCORE = 1\n")), UNKNOWN, "scorer")
        for path in (
            "src/guard/guard.py",
            "src/guard/new.py",
            "src/__init__.py",
            "src/core/files.py",
            "src/mnist/__init__.py",
            "src/mnist/data/idx.py",
            "src/mnist/model/network.py",
            "src/mnist/evaluate/new.py",
            "stages/__main__.py",
            "stages/evaluate.py",
        )
    },
    "scorer, better by it": (then_relock(put("src/guard/guard.py", "SCORE = 1\n"), better), UNKNOWN, "scorer"),
    "scorer and worse": (then_relock(put("src/guard/guard.py", "SCORE = 1\n"), far_worse), FAIL, "scorer"),
    # what is installed
    "package added": (then_relock(pins("torch==2.15.0\nevil==1.0")), UNKNOWN, "installed"),
    "package added to one file": (then_relock(edit_text("requirements.lock", "evil==1.0\n")), UNKNOWN, "installed"),
    "another hash": (then_relock(other_hash_of_a_package), UNKNOWN, "installed"),
    "index option": (
        then_relock(edit_text("requirements.txt", "--extra-index-url https://example.org\n")),
        UNKNOWN,
        "installed",
    ),
    "package from an address": (then_relock(pins("torch @ https://example.org/torch.whl")), UNKNOWN, "installed"),
    "another file of pins": (then_relock(edit_text("requirements.txt", "-r more.txt\n")), UNKNOWN, "installed"),
    "marker of a pin": (then_relock(pins("torch==2.15.0; sys_platform == 'linux'")), UNKNOWN, "installed"),
    "package behind a comment": (
        then_relock(edit_text("requirements.txt", "# nothing \\\nevil==1.0\n")),
        UNKNOWN,
        "installed",
    ),
    "package behind a comment within a line": (
        then_relock(edit_text("requirements.txt", "pip-x==1.0 \\\n  # nothing \\\nevil==1.0\n")),
        UNKNOWN,
        "installed",
    ),
    "name with a comment sign": (then_relock(edit_text("requirements.txt", "evil#==1.0\n")), UNKNOWN, "installed"),
    **{
        f"edited: {path}": (put(path, text), UNKNOWN, "installed")
        for path, text in {
            "install.py": "print()\n",
            "Makefile": "report:\n\ttrue\n",
            "GNUmakefile": "report:\n\ttrue\n",
            ".github/workflows/comment.yml": "jobs: {}\n",
            ".github/actions/x/action.yml": "runs: {}\n",
            "requirements-report.lock": "evil==1.0\n",
            "constraints.txt": "evil==1.0\n",
            "requirements/base.txt": "evil==1.0\n",
            "uv.toml": "index-url = 'https://example.org'\n",
            "setup.py": "print()\n",
            "pyproject.toml": "[tool.uv]\nindex-url = 'https://example.org'\n",
            ".ci/run": "true\n",
        }.items()
    },
    "another version of what no receipt names": (
        then_relock(swap("requirements.txt", "pooch==", "pooch==9.")),
        PASS,
        "installed",
    ),
    # types
    "param of another type": (swap("params.yaml", "shards: 1", "shards: true"), FAIL, "lock"),
    "number of another type": (swap("params.yaml", "epochs: 10", "epochs: 10.0"), FAIL, "lock"),
    "size that is a text": (lock_entry("size: ''"), UNKNOWN, "results"),
    "size that is nothing": (lock_entry("size:"), UNKNOWN, "results"),
    "number of files that is a text": (lock_entry("nfiles: 'x'"), UNKNOWN, "results"),
    "key that DVC does not know": (lock_entry("extra: 1"), UNKNOWN, "results"),
    "option that is a text": (
        swap("dvc.yaml", "train.json: {cache: false}", "train.json: {cache: 'x'}"),
        UNKNOWN,
        "results",
    ),
    # mutations that survived
    "param dropped": (without("train", "params", "lr"), FAIL, "lock"),
    "file of params dropped": (
        based_on(
            all_of(
                put("more.yaml", "a: 1\n"),
                lambda h: edit_yaml(h, lambda stages: stages["train"]["params"].append({"more.yaml": ["a"]})),
                lambda h: h.relock(),
            ),
            lambda h: edit_yaml(h, lambda stages: stages["train"]["params"].pop()),
        ),
        FAIL,
        "lock",
    ),
    "plot is a link": (link("plots/errors.png", "learning_curve.png"), UNKNOWN, "outputs"),
    "accuracy rounded up": (then_relock(nudge("test_acc", 1e-6)), FAIL, "tables"),
    "F1 rounded up": (then_relock(nudge("test_f1", 1e-6)), FAIL, "tables"),
    "class rounded up": (then_relock(round_up_a_class), FAIL, "tables"),
}


@pytest.mark.parametrize("case", [*CASES, *HOLES])
def test_case(history: History, case: str, server: Server) -> None:
    """The answer, the check, and no contact of the server that git and DVC would fetch from."""
    attack, outcome, check = {**CASES, **HOLES}[case]
    server.is_remote_of(history)
    attack(history)
    history.commit(case)
    verdict = verdict_of("main~1", "HEAD")
    assert verdict["outcome"] == outcome, verdict
    assert check in {finding["check"] for finding in verdict["findings"]}, verdict


def verdict_of(base: str, head: str | None = None, reproduced: str = "not-tried") -> dict[str, Any]:
    """Content of verdict.json."""
    return judge(base, head, reproduced).verdict


def test_a_rename_that_was_prepared_in_the_policy_cannot_be_judged(history: History) -> None:
    """Where the base's policy already names the new metric, there is still no old value of it."""
    history.write("metrics_policy.yaml", POLICY.replace("test_acc: {better", "test_accuracy: {better"))
    history.commit("policy first")
    substitute(history, METRIC, "test_acc", "test_accuracy")
    history.relock()
    history.commit("then the rename")
    assert verdict_of("main~1", "HEAD")["outcome"] == UNKNOWN


@pytest.mark.parametrize(
    ("given", "outcome", "words"),
    [
        ("yes", PASS, "reproduced: the same bytes"),
        ("as-good", PASS, "made again: not the same bytes, but as good"),
        ("no", FAIL, "not reproduced"),
        ("not-tried", PASS, "not reproduced: nobody ran it again"),
    ],
)
@pytest.mark.usefixtures("history")
def test_the_result_of_running_it_again(given: str, outcome: str, words: str) -> None:
    report = judge("main", "HEAD", given)
    assert report.verdict["outcome"] == outcome
    assert words in report.comment


def test_commits_before_there_were_receipts(history: History) -> None:
    for stage in ("fetch", "train", "evaluate"):
        without(stage, "metrics", receipt_path(stage))(history)
    history.relock()
    history.commit("no receipts")
    verdict = verdict_of("HEAD", "HEAD")
    assert verdict["outcome"] == PASS
    assert "neither revision has receipts" in str(verdict["findings"])


@pytest.mark.parametrize(
    "path",
    ["src/mnist/train/classifier.py", "src/mnist/fetch/download.py", "stages/train.py", "stages/fetch.py", "README.md"],
)
def test_what_does_not_score_is_not_the_scorer(history: History, path: str) -> None:
    """The model's architecture is part of what scores, but how it is trained is not."""
    history.write(path, "x = 1\n")
    if "train" in path:
        history.hashes["models/model.safetensors"] = "0" * 32
    history.relock()
    assert verdict_of("main")["outcome"] == PASS


def test_a_policy_can_name_the_scorer(history: History) -> None:
    history.write("metrics_policy.yaml", POLICY + "scorer: [src/mnist/evaluate, README.md]\n")
    history.commit("named")
    history.write("src/guard/guard.py", "x = 1\n")
    history.relock()
    assert verdict_of("main")["outcome"] == PASS
    history.write("README.md", "how to score\n")
    assert "scorer" in {finding["check"] for finding in verdict_of("main")["findings"]}
