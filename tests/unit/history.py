"""A repository with forged results: no revision was computed, but each has a matching dvc.lock."""

import csv
import hashlib
import io
import json
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from src.core.files import md5
from src.core.receipt import receipt_path
from src.revision.git import Objects
from src.revision.parsing import leaves, parse
from src.revision.pipeline import read_pipeline
from src.revision.tree import LINK, Entry, Tree

MODEL, METRICS = "models/model.safetensors", "metrics/eval.json"
REPOSITORY = Path(__file__).parents[2]
IMAGES = 10_000
COPIED = (
    "dvc.yaml",
    "requirements.txt",
    "requirements.lock",
    ".gitignore",
    ".dvcignore",
    ".dvc/.gitignore",
    ".dvc/config",
)
# Differs between results, as if it determined the model.
TRAINS = "src/mnist/train/forged.py"
TEST_LABELS = np.arange(IMAGES) % 10


def actual(index: int) -> int:
    return int(TEST_LABELS[index])


def predicted(index: int) -> int:
    return (actual(index) + 1 + index // 10 % 9) % 10


class History:
    """A git repository with this project's pipeline, to which tests add revisions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Hashes of files outside of git, which replace forged ones.
        self.hashes: dict[str, str] = {}

    @classmethod
    def begin(cls, path: Path) -> "History":
        """Copy the pipeline, with neither code nor data nor model, and forge the results of a base with 120 errors."""
        history = cls(path)
        for name in COPIED:
            history.write(name, (REPOSITORY / name).read_text())
        stages = history.read_yaml("dvc.yaml")["stages"].values()
        for dep in {dep for stage in stages for dep in stage["deps"]}:
            if dep.startswith(("src", "stages")):
                history.write(dep if dep.endswith(".py") else f"{dep}/code.py", "# code\n")
            elif not dep.startswith(("data/", "models/", "requirements")):
                # User data, which is irrelevant for these tests.
                history.write("dvc.yaml", (history.path / "dvc.yaml").read_text().replace(f"    - {dep}\n", ""))
        history.write("stages/__main__.py", "# code\n")
        history.freeze_params()
        history.init()
        history.write("metrics_policy.yaml", POLICY)
        for name in ("metrics/train.json", "plots/errors.png", "plots/learning_curve.png"):
            history.write(name, "{}")
        history.rerun(range(0, 1200, 10))
        history.commit("base")
        return history

    def init(self) -> None:
        self.git("init", "-q", "--template=", "-b", "main")
        with (self.path / ".git/config").open("a") as config:
            config.write(SETTINGS)

    def freeze_params(self) -> None:
        """The repository's params with fixed values that tests rely on."""
        names = parse((REPOSITORY / "params.yaml").read_bytes(), "params.yaml", "params.yaml")
        self.write_yaml("params.yaml", {name: FROZEN.get(name, value) for name, value in names.items()})

    def git(self, *words: str, standard_input: str = "") -> str:
        options: dict[str, Any] = {"cwd": self.path, "capture_output": True, "text": True, "check": True}
        return str(subprocess.run(["git", *words], input=standard_input, **options).stdout).strip()

    def lacks_what_is_at(self, url: str) -> None:
        """Let git fetch what the clone lacks, and DVC what its cache lacks, from here."""
        with (self.path / ".git/config").open("a") as config:
            config.write(f'[remote "origin"]\n\turl = {url}their.git\n\tpromisor = true\n')
            config.write("\tfetch = +refs/heads/*:refs/remotes/origin/*\n[extensions]\n\tpartialClone = origin\n")
        self.write(".dvc/config.local", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        return self.git("commit", "--allow-empty", "-m", message).partition("]")[0][-40:]

    def write(self, name: str, content: str | bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def write_results(self, wrong: Iterable[int], epochs: int = 5, copies: int = 1) -> None:
        """Metrics, tables and pictures of a model that gets these test images wrong, and code that trains it.

        Of several copies of the test images, they are in the first.
        """
        wrong = sorted(wrong)
        self.train_anew(hashlib.md5(str(wrong).encode()).hexdigest())
        for name, content in forged(tuple(wrong), epochs, copies).items():
            self.write(name, content)

    def rerun(self, wrong: Iterable[int], epochs: int = 5) -> None:
        """The same after a `dvc repro`: dvc.lock and receipts match."""
        self.write_results(wrong, epochs)
        self.relock()

    def train_anew(self, code: str) -> None:
        """Edit the training code, which results in another model."""
        self.write(TRAINS, f"CODE = {code!r}\n")

    def write_metrics(self, **values: Any) -> None:
        self.write(METRICS, dumped(values))

    def relock(self, receipts: bool = True) -> None:
        """Write receipts and dvc.lock as a run would have; data and models get made-up hashes.

        Without `receipts`, as `dvc commit -f` would have.
        """
        (self.path / "dvc.lock").unlink(missing_ok=True)
        files = Files(self.path)
        pipeline = read_pipeline(files)
        stages = {}
        for name, stage in pipeline.stages.items():
            deps = {path: self._hash(files, path, pipeline.outs) for path in stage.deps}
            params = {file: self._params(file, names) for file, names in stage.params.items()}
            outs = {path: self._hash(files, path) for path in stage.outs if path != receipt_path(name)}
            if receipt_path(name) in stage.outs:
                if receipts:
                    self.write_receipt(name, deps=deps, params=params["params.yaml"], outs=outs)
                receipt = self.path / receipt_path(name)
                outs[receipt_path(name)] = md5(receipt) if receipt.exists() else self._hash(files, receipt_path(name))
            stages[name] = {
                "cmd": stage.command,
                "deps": [{"path": path, "hash": "md5", "md5": oid} for path, oid in deps.items()],
                "params": params,
                "outs": [{"path": path, "hash": "md5", "md5": oid} for path, oid in outs.items()],
            }
        self.write_yaml("dvc.lock", {"schema": "2.0", "stages": stages})

    def write_receipt(self, stage: str, **parts: Any) -> None:
        receipt = {"stage": stage, "versions": {"torch": "2.15.0"}, "machine": {"device": "cpu"}, **parts}
        self.write(receipt_path(stage), json.dumps([receipt]))

    def write_yaml(self, name: str, content: dict[str, Any]) -> None:
        # libyaml's writer is faster, and most tests write a whole dvc.lock.
        self.write(name, yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False))

    def read_yaml(self, name: str) -> dict[str, Any]:
        # The report's own reader caches its results.
        return deepcopy(parse((self.path / name).read_bytes(), name, name))

    def params(self) -> dict[str, Any]:
        return self._params("params.yaml", None)

    def _params(self, file: str, names: list[str] | None) -> dict[str, Any]:
        content = self.read_yaml(file)
        flat = {**content, **dict(leaves(content))}
        return content if names is None else {name: flat[name] for name in names if name in flat}

    def _hash(self, files: Tree, path: str, outs: Iterable[str] = ()) -> str:
        seed = (self.path / TRAINS).read_text() if path == MODEL and (self.path / TRAINS).exists() else path
        made_up = hashlib.md5(seed.encode()).hexdigest()
        within = {out: self._hash(files, out) for out in outs if out.startswith(f"{path}/")}
        return files.md5(path, within) or self.hashes.get(path, made_up)


class Files(Tree):
    """The current files of a folder, including those that git ignores."""

    def __init__(self, folder: Path) -> None:
        found = [path for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts]
        names = {path.relative_to(folder).as_posix(): path for path in found if path.is_symlink() or path.is_file()}
        modes = {name: LINK if path.is_symlink() else "100644" for name, path in names.items()}
        super().__init__("history", {name: Entry(mode, name) for name, mode in modes.items()}, cast("Objects", None))
        self._folder = folder

    def read(self, path: str) -> bytes | None:
        return (self._folder / path).read_bytes() if self.has(path) else None


@cache
def forged(wrong: tuple[int, ...], epochs: int, copies: int) -> dict[str, str | bytes]:
    """Metrics, tables and pictures by path, as `History.write_results` needs them; most tests need the same."""
    labels = np.tile(TEST_LABELS, copies)
    preds = labels.copy()
    preds[list(wrong)] = [predicted(index) for index in wrong]
    names = ("precision", "recall", "f1", "images")
    by_class = dict(zip(names, precision_recall_fscore_support(labels, preds), strict=True))
    acc = 1 - len(wrong) / len(labels)
    scores = {"acc": acc, "loss": 4 * (1 - acc)} | {name: float(by_class[name].mean()) for name in names[:3]}
    # As large as evaluate's, and much faster to draw.
    size = (10 * 112, max(1, math.ceil(min(200, len(wrong)) / 10)) * 112)
    Image.new("L", size, "white").save(picture := io.BytesIO(), "png", compress_level=1)
    return {
        METRICS: dumped({f"test_{name}": round(score, 6) for name, score in scores.items()}),
        "plots/errors.csv": table(
            [{"index": i, "actual": actual(i), "predicted": predicted(i), "confidence": 0.9} for i in wrong],
            ["index", "actual", "predicted", "confidence"],
        ),
        "plots/confusion.csv": table(
            [{"actual": i, "predicted": j, "count": n} for (i, j), n in np.ndenumerate(confusion_matrix(labels, preds))]
        ),
        "plots/per_class.csv": table(
            [{"class": i} | {name: values[i].round(4) for name, values in by_class.items()} for i in range(10)]
        ),
        "plots/history.csv": table(
            [
                {"epoch": e, "loss": 0.3 / e, "acc": 1 - 0.1 / e, "f1": 1 - 0.1 / e, "val_loss": 0.4 / e}
                | {"val_acc": acc - 0.1 / e, "val_f1": acc - 0.1 / e, "lr": 0.001}
                for e in range(1, epochs + 1)
            ]
        ),
        "plots/errors.png": picture.getvalue(),
    }


def dumped(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


def table(rows: Sequence[Mapping[str, Any]], header: Sequence[str] = ()) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# Test commits do not need cleanup, and print their full hashes.
SETTINGS = """\
[user]
    name = t
    email = t@example.org
[commit]
    gpgsign = false
[maintenance]
    auto = false
[core]
    abbrev = 40
"""
FROZEN = {"dataset": "mnist", "seed": 0, "epochs": 10, "batch_size": 128, "shards": 1, "lr": 0.006}
POLICY = """\
version: 2
metrics:
  metrics/eval.json:
    test_acc: {better: higher, tolerated: 0.001, required: true, mcnemar: true}
    test_f1: {better: higher, tolerated: 0.001, required: true, mcnemar: true}
    test_loss: {better: lower, tolerated: 10%, required: false}
data: data/MNIST
examples:
  wrong: plots/errors.csv
  counts: plots/confusion.csv
  classes: plots/per_class.csv
  pictures: {file: plots/errors.png, side: 112, columns: 10, most: 200}
  metrics:
    metrics/eval.json: {test_acc: accuracy, test_precision: precision, test_recall: recall, test_f1: f1}
curves: {file: plots/history.csv, columns: [loss, val_loss, acc, val_acc, f1, val_f1]}
"""
