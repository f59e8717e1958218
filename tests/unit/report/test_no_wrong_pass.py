"""Every known way to a wrong pass: the answer, the check that notices, and what the branch does."""

import json

import pytest

from src.core.errors import UserError
from src.core.receipt import receipt_path
from src.noise.measurement import NOISE
from src.report.checks import CHECKS
from src.report.command import judge
from src.revision.pipeline import read_pipeline
from tests.unit.history import POLICY, TRAINS, Files, History
from tests.unit.report.attacks import (
    BASE_ERRORS,
    METRIC,
    Attack,
    append,
    based_on,
    both,
    cut,
    delete,
    edit_yaml,
    force,
    in_stage,
    lax,
    link,
    lock_entry,
    locked,
    other_hash,
    put,
    receipt,
    relock_file,
    resub,
    swap,
    wishful,
    without,
    worse,
)
from tests.unit.report.conftest import FAIL, PASS, UNKNOWN, reasons, verdict_of
from tests.unit.server import Server

TRAIN = receipt_path("train")
MODEL, NETWORK = "models/model.safetensors", "src/mnist/model/network.py"
POLICY_FILE, GUARD = "metrics_policy.yaml", put("src/guard/guard.py", "SCORE = 1\n")
NOTHING = put("README.md", "no change of results\n")
OTHER_TEST_DATA = locked(
    other_hash("data/MNIST/raw/t10k-images-idx3-ubyte"), lambda history: history.train_anew("other")
)
UNREAD = append(POLICY_FILE, "unread: ['tests/*.py', 'docs/*']\n")
INCLUDE = "--requirement=deps/more.txt\n"
CONFIG = "['remote \"x\"']\n    url = http://127.0.0.1:9\n"


def better(history: History) -> None:
    """Different results from the base's inputs, including the training code."""
    code = (history.path / TRAINS).read_text()
    history.write_results(BASE_ERRORS - set(range(0, 600, 10)))
    history.write(TRAINS, code)


def nudge(name: str) -> Attack:
    """A metric that exceeds the value of its tables by the last digit."""

    def run(history: History) -> None:
        metrics = json.loads((history.path / METRIC).read_text())
        history.write_metrics(**{**metrics, name: round(metrics[name] + 1e-6, 6)})

    return run


def fewer_images(history: History) -> None:
    """Consistent results of the 100 easiest images."""
    history.train_anew("other")
    history.write_metrics(test_acc=1.0, test_f1=1.0, test_loss=0.001)
    cut("plots/errors.csv", 120)(history)
    rows = [f"{actual},{pred},{10 if actual == pred else 0}\n" for actual in range(10) for pred in range(10)]
    history.write("plots/confusion.csv", "actual,predicted,count\n" + "".join(rows))
    classes = [f"{label},1,1,1,10\n" for label in range(10)]
    history.write("plots/per_class.csv", "class,precision,recall,f1,images\n" + "".join(classes))


def other_labels(history: History) -> None:
    """The same counts, but with swapped labels of images 0 and 1."""
    history.write_results((BASE_ERRORS | {1, 3}) - {10, 20})
    resub("plots/errors.csv", r"\n0,(.*\n)1,", r"\n1,\g<1>0,")(history)


def since(history: History) -> None:
    """A loss within the tolerance of one change, but beyond the total limit."""
    history.git("tag", "reference")
    policy = POLICY.replace("tolerated: 0.001,", "tolerated: 0.5, since_reference: 0.002,", 1)
    policy = policy.replace("tolerated: 0.001", "tolerated: 0.5") + "reference: reference\n"
    based_on(put(POLICY_FILE, policy), worse)(history)


def pins(requirements: str) -> Attack:
    """Replace torch==2.15.0 in both requirements files."""
    return locked(*(swap(f"requirements.{end}", "torch==2.15.0", requirements) for end in ("txt", "lock")))


CASES: dict[tuple[str, str], dict[str, Attack]] = {
    # dvc.lock is void, or the results are not what it records
    (FAIL, "lock"): {
        "code edited": put("src/mnist/train/new.py", "# edited\n"),
        "stage kept in dvc.lock only": edit_yaml(lambda stages: stages.pop("evaluate")),
        "param of another type": swap("params.yaml", "shards: 1", "shards: true"),
        "number of another type": swap("params.yaml", "epochs: 10", "epochs: 10.0"),
        "param dropped": without("train", "params", "lr"),
        "file of params dropped": based_on(
            both(
                put("more.yaml", "a: 1\n"),
                locked(edit_yaml(lambda stages: stages["train"]["params"].append({"more.yaml": ["a"]}))),
            ),
            edit_yaml(lambda stages: stages["train"]["params"].pop()),
        ),
    },
    (FAIL, "outputs"): {
        "metric edited": wishful,
        "plain output in git deleted": based_on(
            both(put("notes.txt", "1"), locked(in_stage("extra", cmd="echo", outs=[{"notes.txt": {"cache": False}}]))),
            delete("notes.txt"),
        ),
    },
    (UNKNOWN, "outputs"): {"plot is a link": link("plots/errors.png", "learning_curve.png")},
    (FAIL, "recorded"): {
        "metric moved to the top level": both(without("evaluate", "metrics", METRIC), wishful),
        "evaluate deleted and unlocked": locked(edit_yaml(lambda stages: stages.pop("evaluate")), wishful),
        "metric made by another stage": locked(
            without("evaluate", "metrics", METRIC), in_stage("other", cmd="echo", metrics=[{METRIC: {"cache": False}}])
        ),
        "metrics file renamed": locked(
            swap("dvc.yaml", METRIC, "metrics/evaI.json"),
            lambda history: (history.path / METRIC).rename(history.path / "metrics/evaI.json"),
        ),
    },
    (FAIL, "receipts"): {
        "locked by hand": both(
            put("src/mnist/train/new.py", "# edited\n"), lambda history: history.relock(receipts=False)
        ),
        "trained with another param": receipt(lambda content: content["params"].update(lr=0.5)),
        "param of another type in a receipt": receipt(lambda content: content["params"].update(shards=True)),
        "another model": receipt(lambda content: content["outs"].update({MODEL: "0" * 32})),
        "receipt deleted": delete(TRAIN),
        "receipt is no receipt": both(put(TRAIN, "[" * 5000), relock_file(TRAIN)),
        "receipt deleted, and another result": both(locked(better), delete(receipt_path("evaluate"))),
        "receipt of another stage": both(
            lambda history: history.write(TRAIN, (history.path / receipt_path("fetch")).read_text()), relock_file(TRAIN)
        ),
    },
    # the results contradict each other
    (FAIL, "tables"): {
        "accuracy against the tables": locked(wishful),
        "F1 against the tables": locked(swap(METRIC, '"test_f1": 0.98', '"test_f1": 0.99')),
        "accuracy rounded up": locked(nudge("test_acc")),
        "F1 rounded up": locked(nudge("test_f1")),
        "minus zero": locked(swap(METRIC, '"test_acc": 0.98', '"test_acc": -0.0, "x": 0.98')),
        "errors cut": locked(cut("plots/errors.csv")),
        "confusion cut": locked(cut("plots/confusion.csv")),
        "confusion edited": locked(swap("plots/confusion.csv", "0,1,", "0,1,7")),
        "class edited": locked(swap("plots/per_class.csv", "1000\n1,0.9862,", "1000\n1,0.5,")),
        "class rounded up": locked(swap("plots/per_class.csv", "1000\n1,0.9862,", "1000\n1,0.9863,")),
        "class left out": locked(cut("plots/per_class.csv", 1)),
        "image beyond the test set": locked(swap("plots/errors.csv", "\n0,0,", "\n10000,0,")),
    },
    (UNKNOWN, "tables"): {
        "image twice": locked(swap("plots/errors.csv", "\n10,0,", "\n0,0,")),
        "half an image": locked(swap("plots/confusion.csv", "0,1,", "0,1,0.5")),
        "other columns of the errors": locked(swap("plots/errors.csv", "predicted", "answer")),
    },
    (UNKNOWN, "curves"): {"other columns": locked(swap("plots/history.csv", "val_acc", "accuracy"))},
    (FAIL, "curves"): {
        "a million rows": put(
            "plots/history.csv", "epoch,loss,acc,f1,val_loss,val_acc,val_f1\n" + "1,1,1,1,1,1,1\n" * 200_001
        )
    },
    (UNKNOWN, "predictions"): {
        "fewer images": locked(fewer_images),
        "more images": locked(lambda history: history.write_results(BASE_ERRORS, copies=2)),
        "other labels": locked(other_labels),
    },
    (UNKNOWN, "repeats"): {
        "other results from the same inputs": locked(better),
        "another model from the same inputs": locked(better, other_hash(MODEL)),
        "another model, said to be of another machine": both(
            locked(better, other_hash(MODEL)), receipt(lambda content: content["machine"].update(device="a GPU"))
        ),
    },
    (FAIL, "metrics"): {
        "beyond the largest number": locked(swap(METRIC, '"test_acc": 0.98', '"test_acc": 1e999, "x": 0.98')),
        "metric twice": locked(swap(METRIC, '"test_acc"', '"test_acc": 0.9999, "test_acc"')),
        "metric twice, nested and with a dot": based_on(
            both(swap(POLICY_FILE, "test_acc: {b", "test.acc: {b"), locked(swap(METRIC, "test_acc", "test.acc"))),
            locked(swap(METRIC, '"test.acc"', '"test": {"acc": 0.9}, "test.acc"')),
        ),
        "metric renamed": locked(swap(METRIC, "test_acc", "test_acc\u200b")),
        "worse, by rules that it loosens": both(lax, worse),
        "worse, by the first rules": based_on(delete(POLICY_FILE), both(put(POLICY_FILE, POLICY), worse)),
        "rule for what nobody has": based_on(swap(POLICY_FILE, "test_acc: {b", "test_accuracy: {b"), NOTHING),
    },
    (UNKNOWN, "metrics"): {
        "metric kept in the cache": both(
            locked(swap("dvc.yaml", f"{METRIC}: {{cache: false}}", f"{METRIC}: {{cache: true}}")), delete(METRIC)
        ),
        "rename that was prepared in the policy": based_on(
            swap(POLICY_FILE, "test_acc: {b", "test_accuracy: {b"), locked(swap(METRIC, "test_acc", "test_accuracy"))
        ),
    },
    (FAIL, "since_reference"): {"losses add up": since},
    # not comparable
    (UNKNOWN, "data"): {
        "another dataset": locked(
            other_hash("data/MNIST/raw/t10k-images-idx3-ubyte"),
            swap("params.yaml", "dataset: mnist", "dataset: digits"),
        ),
        "named with a slash": based_on(swap(POLICY_FILE, "data/MNIST", "./data/MNIST/"), OTHER_TEST_DATA),
        "named wrongly": based_on(swap(POLICY_FILE, "data/MNIST", "data/MNSIT"), OTHER_TEST_DATA),
    },
    (UNKNOWN, "scorer"): {
        "edited": locked(GUARD),
        "param that evaluate alone reads": locked(swap("params.yaml", "tta_shift: ", "tta_shift: 1")),
        "better by it": locked(GUARD, better),
        "named with a slash": based_on(append(POLICY_FILE, "scorer: [./src/guard/]\n"), locked(GUARD)),
        "named wrongly": based_on(append(POLICY_FILE, "scorer: [src/gaurd]\n"), locked(GUARD)),
        "better by shared code": locked(put("src/mnist/data/new.py", "# edited\n"), better),
        "code of training and evaluation": locked(other_hash(MODEL), put(NETWORK, "# edited\n")),
    },
    (FAIL, "scorer"): {"worse by it": both(GUARD, worse)},
    # what judges
    (UNKNOWN, "policy"): {
        **{
            f"of the base {name}": based_on(put(POLICY_FILE, text), both(worse, lax))
            for name, text in {
                "with an unknown key": POLICY + "extra: 1\n",
                "is empty": "",
                "is no YAML": "metrics: [",
            }.items()
        },
        "of the base is a link": based_on(link(POLICY_FILE, "params.yaml"), both(delete(POLICY_FILE), worse, lax)),
        "of the base is a folder": based_on(
            both(delete(POLICY_FILE), put(f"{POLICY_FILE}/x", "1")),
            both(delete(f"{POLICY_FILE}/x"), lambda history: (history.path / POLICY_FILE).rmdir(), both(worse, lax)),
        ),
        "of both is missing": based_on(delete(POLICY_FILE), NOTHING),
        "loosened for the next change": append(POLICY_FILE, "unread: ['*']\n"),
        "metric is a link": link(METRIC, "train.json"),
        "link out of the repository": link(POLICY_FILE, "/etc/passwd"),
    },
    (FAIL, "policy"): {
        "renames a metric first": swap(POLICY_FILE, "test_acc", "test_accuracy"),
        "deleted": delete(POLICY_FILE),
        "malformed": swap(POLICY_FILE, "higher", "upwards"),
    },
    (FAIL, "noise"): {"is none": put(NOISE, "nonsense")},
    (UNKNOWN, "noise"): {
        "planted": put(NOISE, "[]"),
        "of the base is malformed": based_on(put(NOISE, "[7]"), NOTHING),
    },
    (FAIL, "stages"): {
        "evaluate deleted, its metrics kept": both(edit_yaml(lambda stages: stages.pop("evaluate")), wishful),
        "table dropped and cut": both(without("evaluate", "plots", "plots/errors.csv"), cut("plots/errors.csv")),
        "dependency dropped and edited": both(without("train", "deps", "src/mnist/model"), put(NETWORK, "# edited\n")),
        "param dropped and changed": both(
            without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")
        ),
    },
    (UNKNOWN, "stages"): {
        "the scoring one renamed": locked(swap("dvc.yaml", "\n  evaluate:\n", "\n  score:\n")),
        "the scoring one replaced": locked(
            edit_yaml(lambda stages: stages.pop("evaluate")),
            in_stage("other", cmd="echo", metrics=[{METRIC: {"cache": False}}]),
        ),
        "table dropped": locked(without("evaluate", "plots", "plots/errors.png")),
        "dependency dropped": locked(without("train", "deps", "src/mnist/model"), put(NETWORK, "# edited\n")),
        "param dropped": locked(without("train", "params", "lr"), swap("params.yaml", "lr: 0.006", "lr: 0.5")),
        "receipt no longer declared": locked(without("train", "metrics", TRAIN)),
        "command changed": locked(swap("dvc.yaml", "__main__.py evaluate", "__main__.py evaluate --kindly")),
        "frozen": locked(in_stage("train", frozen=True)),
        "always run": locked(in_stage("train", always_changed=True)),
        "added": locked(in_stage("extra", cmd="echo", deps=["params.yaml"], outs=["extra"])),
        "dependency added": locked(edit_yaml(lambda stages: stages["train"]["deps"].append("src/guard"))),
        "source made": locked(in_stage("make", cmd="python make.py", outs=["src/mnist/train"])),
        "source made within a folder": locked(in_stage("make", cmd="python", outs=["src/mnist/train/made.py"])),
        "file of packages made": locked(
            edit_yaml(lambda stages: stages["train"]["outs"].append("gpu-requirements.txt"))
        ),
        "Makefile made": locked(in_stage("make", cmd="python make.py", outs=["GNUmakefile"])),
        "policy made": locked(in_stage("make", cmd="python make.py", outs=[POLICY_FILE])),
        "policy made by a stage of old": locked(edit_yaml(lambda stages: stages["fetch"]["outs"].append(POLICY_FILE))),
        "output kept from run to run": locked(
            swap("dvc.yaml", f"{METRIC}: {{cache: false}}", f"{METRIC}: {{cache: false, persist: true}}")
        ),
    },
    (UNKNOWN, "files"): {
        "hidden from DVC": locked(append(".dvcignore", "network.py\n")),
        "checkpoint to go on with": both(swap(".gitignore", "/logs/\n", ""), put("logs/last.ckpt", "weights")),
        "link in the place of an ignored folder": both(put("docs/last.ckpt", "weights"), link("logs", "docs")),
        "bytecode": both(swap(".gitignore", "__pycache__/\n", ""), put("src/core/__pycache__/a.pyc", "0")),
        # what is installed
        "package added": pins("torch==2.15.0\nevil==1.0"),
        "package added to one file": locked(append("requirements.lock", "evil==1.0\n")),
        "another hash": locked(resub("requirements.lock", r"sha256:[0-9a-f]{4}", "sha256:0000")),
        "index option": locked(append("requirements.txt", "--extra-index-url https://example.org\n")),
        "another order of options": based_on(
            append("requirements.txt", "-i https://a.org\n-i https://b.org\n"),
            locked(resub("requirements.txt", r"(-i .*\n)(-i .*\n)", r"\2\1")),
        ),
        "package from an address": pins("torch @ https://example.org/torch.whl"),
        "another file of pins": locked(append("requirements.txt", "-r more.txt\n")),
        **{
            f"package in a file that another includes by {option}": based_on(
                both(put("deps/more.txt", f"{option}\n"), put("most", "a==1.0\n"), append("requirements.txt", INCLUDE)),
                locked(append("most", "evil==1.0\n")),
            )
            for option in ("--requirem='../most'", "--pre -c ../most", "-r \\\n  file:../most")
        },
        **{
            f"package from a folder by {option}": based_on(
                both(put("lib/src/x.py", "x\n"), append("requirements.txt", f"{option}\n")),
                locked(put("lib/src/x.py", "y\n")),
            )
            for option in (
                "./lib",
                "-e ./lib[extra]",
                "--editable=lib",
                "lib @ file:./lib",
                "-elib",
                "'lib/src'",
                "-f lib",
            )
        },
        "pin with spaces": pins("torch == 2.16.0"),
        "pin with extras": pins("torch[opt]==2.16.0"),
        "pin for another platform": pins("torch==2.16.0\ntorch==2.15.0; sys_platform == 'none'"),
        "pin loosened": pins("torch>=2.15.0"),
        "pin removed": pins("# torch"),
        "marker of a pin": pins("torch==2.15.0; sys_platform == 'linux'"),
        "any version": locked(resub("requirements.txt", r"pooch==[\d.]+", "pooch==1.*")),
        "package behind a comment": locked(append("requirements.txt", "# nothing \\\nevil==1.0\n")),
        "package behind a comment within a line": locked(
            append("requirements.txt", "pip-x==1.0 \\\n  # nothing \\\nevil==1.0\n")
        ),
        "package behind comments and another kind of line break": locked(
            append("requirements.txt", "# one\x0b# two \\\nevil==1.0\n")
        ),
        "package in a comment of another encoding": locked(
            resub("requirements.txt", "^", "# coding: utf-7\n# +AAo-evil==1.0\n")
        ),
        "name with a comment sign": locked(append("requirements.txt", "evil#==1.0\n")),
        "program named like a document": put("README.py", "print()\n"),
        "program edited": put("install.py", "print()\n"),
        "checks edited": put("src/report/checks.py", "CHECKS = ()\n"),
        "unread by its own policy": based_on(
            delete(POLICY_FILE), both(put(POLICY_FILE, f"{POLICY}unread: ['*']\n"), put("install.py", "print()\n"))
        ),
        "declared by the branch": locked(
            edit_yaml(lambda stages: stages["train"]["deps"].append(".github")), put(".github/x.yml", "jobs: {}\n")
        ),
        "beside what is unread": based_on(UNREAD, put("tests/.gitattributes", "* eol=crlf\n")),
        "DVC's, in an unread folder": based_on(
            UNREAD, put("docs/x.dvc", "outs: [{path: ../src/mnist/train/new.py}]\n")
        ),
    },
    (FAIL, "files"): {"pins deleted": delete("requirements.txt")},
    (PASS, "files"): {
        "another version of what no receipt names": locked(swap("requirements.txt", "pooch==", "pooch==9.")),
        "another version and its hashes": locked(
            resub("requirements.lock", r"(pooch==)(.*\n +--hash=sha256:)[0-9a-f]{4}", r"\g<1>9.\g<2>0000")
        ),
    },
    (UNKNOWN, "versions"): {
        "of requirements.txt": locked(swap("requirements.txt", "torch==2.15.0", "torch==2.16.0")),
        "of the lock file": locked(swap("requirements.lock", "torch==2.15.0", "torch==2.16.0")),
        "another build": pins("torch==2.15.0+evil"),
        "removed from a receipt": receipt(lambda content: content["versions"].clear()),
        "another on purpose": receipt(lambda content: content["machine"].update(unpinned={"torch": "2 instead of 1"})),
    },
    # beyond what the report reads
    (UNKNOWN, "lock"): {
        "base is out of date": based_on(
            lambda history: history.train_anew("edited and not run"), lambda history: history.relock()
        ),
        "code is a link": link("src/mnist/data/idx.py", "dataset.py"),
        "link to itself": link("params.yaml", "params.yaml"),
        "files hidden below": put("src/mnist/model/.dvcignore", "network.py\n"),
        "params are a list": put("params.yaml", "- epochs: 1\n"),
    },
    (UNKNOWN, "results"): {
        "no dvc.lock": delete("dvc.lock"),
        "template": in_stage("train", deps=["${dep}"]),
        "conflict markers": append("dvc.lock", "<<<<<<< HEAD\n"),
    },
}
# What DVC refuses or the report does not support, in dvc.yaml or dvc.lock; the report treats all as the template above.
REFUSED: dict[str, Attack] = {
    "path that is too long": in_stage("train", deps=["a/" * 20_000]),
    "path outside": in_stage("train", deps=["../secret"]),
    "foreach": in_stage("many", foreach=["a"], do={"cmd": "echo"}),
    "variables": append("dvc.yaml", "vars: [{lr: 1}]\n"),
    "template in a command": swap("dvc.yaml", "__main__.py train", "__main__.py train ${epochs}"),
    "stage that reads its own output": in_stage("extra", cmd="echo", deps=["made/file"], outs=["made"]),
    "stages that read each other's output": both(
        in_stage("one", cmd="echo", deps=["two"], outs=["made/one"]),
        in_stage("two", cmd="echo", params=[{"made/one": None}], outs=["two"]),
    ),
    "name as of foreach": in_stage("many@a", cmd="echo", outs=["a"]),
    "another folder to run in": in_stage("evaluate", wdir="src"),
    "option that is a text": swap("dvc.yaml", "train.json: {cache: false}", "train.json: {cache: 'x'}"),
    "output twice": in_stage("extra", cmd="echo", outs=["models"]),
    "output twice in other words": in_stage("evaluate", outs=["./metrics//eval.json"]),
    # In alphabetical order, another output stands between a folder and what lies in it.
    "output in an output": in_stage("extra", cmd="echo", outs=["metrics", "metrics-2"]),
    "hash twice": edit_yaml(lambda stages: stages["train"]["outs"].append(stages["train"]["outs"][0]), "dvc.lock"),
    "lock file in another format": swap("dvc.lock", "'2.0'", "'1.0'"),
    "hash of DVC 2": swap("dvc.lock", "    hash: md5\n", ""),
    "size that is a text": lock_entry("size: ''"),
    "size that is nothing": lock_entry("size:"),
    "number of files that is a text": lock_entry("nfiles: 'x'"),
    "key that DVC does not know": lock_entry("extra: 1"),
}
# Files that determine which content DVC or git finds.
HIDING: dict[str, Attack] = {
    ".gitmodules": put(".gitmodules", "[submodule]\n"),
    ".gitattributes": put(".gitattributes", "*.py eol=crlf\n"),
    ".dvc/config": put(".dvc/config", CONFIG),
    ".dvc/config.local": force(".dvc/config.local", CONFIG),
    ".dvc/cache/files/md5/00/11": force(".dvc/cache/files/md5/00/11", "model"),
    "src/mnist/model.dvc": put("src/mnist/model.dvc", f"outs:\n- path: model\n  md5: {'0' * 32}.dir\n"),
    "more/dvc.yaml": put("more/dvc.yaml", "stages: {}\n"),
    "src/.dvc/config": put("src/.dvc/config", ""),
    "src/core/.gitattributes": put("src/core/.gitattributes", "*.py eol=crlf\n"),
    "src/core/more.dvc": put("src/core/more.dvc", f"outs:\n- path: more\n  md5: {'0' * 32}\n  hash: md5\n"),
    "src/core/dvc.yaml": put("src/core/dvc.yaml", "stages: {}\n"),
    "a/b c/.gitattributes": put("a/b\nc/.gitattributes", "*.py eol=crlf\n"),
    ".dvc/plots/.gitattributes": put(".dvc/plots/.gitattributes", "*.json eol=crlf\n"),
}
# Files that install packages, or run the installation and the checks.
INSTALLING = (
    "install.py",
    "Makefile",
    "GNUmakefile",
    ".github/workflows/checks.yml",
    ".github/actions/x/action.yml",
    "requirements-report.lock",
    "constraints.txt",
    "requirements/base.txt",
    "requirements.yml",
    "environment-gpu.yml",
    "gpu.Dockerfile",
    "uv.toml",
    "setup.py",
    "pytest.ini",
    "wheels/torch-2.15.0-py3-none-any.whl",
    ".buildkite/pipeline.yml",
    "pyproject.toml",
    "env/lib/site-packages/torch.py",
    ".ci/run",
    "deps.txt",
    "Justfile",
    ".gitlab-ci.yml",
)
SCORING = (
    "src/__init__.py",
    "src/core/files.py",
    "src/guard/guard.py",
    "src/guard/new.py",
    "src/mnist/__init__.py",
    "src/mnist/data/idx.py",
    "src/mnist/evaluate/new.py",
    "src/mnist/evaluate/requirements.txt",
    "stages/__main__.py",
    "stages/evaluate.py",
)
FLAT = [(*key, name, attack) for key, cases in CASES.items() for name, attack in cases.items()]


@pytest.mark.parametrize(
    ("outcome", "check", "attack"),
    [pytest.param(outcome, check, attack, id=f"{check}: {name}") for outcome, check, name, attack in FLAT],
)
def test_case(history: History, outcome: str, check: str, attack: Attack, server: Server) -> None:
    """Check outcome and check, and that the server of git and DVC is not contacted."""
    history.lacks_what_is_at(server.url)
    attack(history)
    history.commit("attack")
    verdict = verdict_of("main~1", "HEAD")
    assert verdict["outcome"] == outcome, verdict
    assert " broke: " not in str(verdict["findings"]), verdict
    assert check in {finding["check"] for finding in verdict["findings"]}, verdict


def test_every_check_has_a_case() -> None:
    """Each is the one that notices some case; two have tests of their own: what ran again, and where a branch began."""
    assert {check.__name__ for check in CHECKS} == {check for _, check in CASES} | {"reproduced", "lineage"}


@pytest.mark.parametrize(
    ("given", "outcome", "words"),
    [
        ("yes", PASS, "reproduced: the same bytes"),
        ("as-good", PASS, "made again: not the same bytes, but as good"),
        ("no", FAIL, "not reproduced"),
        ("not-tried", PASS, "not reproduced: the pipeline was not run again"),
    ],
)
@pytest.mark.usefixtures("history")
def test_result_of_a_reproduction(given: str, outcome: str, words: str) -> None:
    report = judge("main", "HEAD", given)
    assert report.verdict["outcome"] == outcome
    assert words in report.comment


def test_commits_without_receipts(history: History) -> None:
    locked(*(without(stage, "metrics", receipt_path(stage)) for stage in ("fetch", "train", "evaluate")))(history)
    history.commit("no receipts")
    verdict = verdict_of("HEAD", "HEAD")
    assert verdict["outcome"] == PASS
    assert "neither revision has receipts" in str(verdict["findings"])


@pytest.mark.parametrize("attack", REFUSED.values(), ids=REFUSED)
def test_unsupported_pipeline_is_rejected(history: History, attack: Attack) -> None:
    attack(history)
    with pytest.raises(UserError, match=r"dvc\.(yaml|lock) of history: "):
        read_pipeline(Files(history.path))


def test_every_unhashed_file_is_reported(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.report.finding.MAX_LISTED", 100)
    both(*HIDING.values(), *(put(path, "evil==1.0\n") for path in INSTALLING))(history)
    history.commit("attack")
    found = " ".join(reasons("main~1", "HEAD", "files"))
    assert [path for path in (*HIDING, *INSTALLING) if path not in found] == []


@pytest.mark.parametrize("paths", [SCORING[:5], SCORING[5:]], ids=" ".join)
def test_every_file_of_the_scorer_is_reported(history: History, paths: tuple[str, ...]) -> None:
    locked(*(put(path, "SCORE = 1\n") for path in paths))(history)
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN
    assert f"the scorer changed, read its diff: {', '.join(paths)}" in str(verdict["findings"])


def test_policy_can_name_the_scorer(history: History) -> None:
    named = both(append(POLICY_FILE, "scorer: [src/mnist/evaluate, README.md]\n"), NOTHING)
    based_on(named, locked(GUARD))(history)
    assert verdict_of("main")["outcome"] == PASS
    history.write("README.md", "how to score\n")
    assert reasons(check="scorer")


def test_other_files_are_not_the_scorer(history: History) -> None:
    """The model's architecture is part of what scores, but how it is trained is not; nor does it install anything."""
    paths = ("src/mnist/train/constraints.py", "src/mnist/fetch/download.py", "stages/train.py", "stages/fetch.py")
    more = (".github/README.md", "docs/requirements.md", "LICENSE", "LICENSE.txt", "README.txt", "tests/test_it.py")
    based_on(UNREAD, locked(other_hash(MODEL), *(put(path, "x = 1\n") for path in (*paths, *more))))(history)
    assert verdict_of("main")["outcome"] == PASS
