"""A repository whose results were never computed: every revision is forged, with a dvc.lock that agrees with it."""

import csv
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from dvc.dependency import ParamsDependency
from dvc.output import Output
from dvc.repo import Repo
from ruamel.yaml import YAML

from src.evaluate.tiles import draw_tiles

REPOSITORY = Path(__file__).parents[2]
IMAGES = 10_000
TEST_LABELS = np.arange(IMAGES) % 10


def actual(index: int) -> int:
    return int(TEST_LABELS[index])


def predicted(index: int) -> int:
    return (actual(index) + 1 + index // 10 % 9) % 10


class History:
    """A git repository with this project's pipeline, to be given one revision after another."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begin(cls, path: Path) -> "History":
        """Copy the pipeline, with neither data nor model, and forge the results of a base with 120 errors."""
        for name in (
            "dvc.yaml",
            "params.yaml",
            ".gitignore",
            ".dvcignore",
            ".dvc/config",
            ".dvc/.gitignore",
        ):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, path / name)
        for name in ("src", "stages"):
            shutil.copytree(REPOSITORY / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        history = cls(path)
        history.git("init", "-q", "-b", "main")
        history.write("metrics_policy.yaml", POLICY)
        for name in ("metrics/train.json", "plots/errors.png", "plots/learning_curve.png"):
            history.write(name, "{}")
        history.write_results(range(0, 1200, 10))
        history.relock()
        history.commit("base")
        return history

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *words], cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, content: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(content)

    def write_results(self, wrong: Iterable[int], epochs: int = 5) -> None:
        """Metrics, tables and pictures of a model that gets these test images wrong."""
        wrong = sorted(wrong)
        counts = {(i, j): 0 for i in range(10) for j in range(10)}
        for index in range(IMAGES):
            counts[actual(index), predicted(index) if index in set(wrong) else actual(index)] += 1
        scores = {label: counts[label, label] / (IMAGES // 10) for label in range(10)}
        acc = 1 - len(wrong) / IMAGES
        self.write_metrics(test_acc=acc, test_f1=acc, test_loss=round(4 * (1 - acc), 6))
        self._table(
            "errors", ["index", "actual", "predicted", "confidence"], [(i, actual(i), predicted(i), 0.9) for i in wrong]
        )
        self._table("confusion", ["actual", "predicted", "count"], [(*pair, count) for pair, count in counts.items()])
        self._table(
            "per_class",
            ["class", "precision", "recall", "f1", "images"],
            [(label, score, score, score, IMAGES // 10) for label, score in scores.items()],
        )
        self._table(
            "history",
            ["epoch", "loss", "acc", "f1", "val_loss", "val_acc", "val_f1", "lr"],
            [
                (e, 0.3 / e, 1 - 0.1 / e, 1 - 0.1 / e, 0.4 / e, acc - 0.1 / e, acc - 0.1 / e, 0.001)
                for e in range(1, epochs + 1)
            ],
        )
        pictures = np.zeros((len(wrong), 28, 28), np.uint8)
        pictures[:, 8:20, 8:20] = 255
        draw_tiles(pictures, self.path / "plots/error_tiles.png")

    def write_metrics(self, **values: Any) -> None:
        self.write("metrics/eval.json", json.dumps(values, indent=2) + "\n")

    def relock(self) -> None:
        """Write the hashes of what is there into dvc.lock, as a run would have; data and models get made-up ones."""
        stages = {}
        for stage in Repo(self.path).index.stages:
            params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            stages[stage.name] = {
                "cmd": stage.cmd,
                "deps": [self._entry(dep) for dep in stage.deps if dep not in params],
                "params": {dep.def_path: dep.read_params() for dep in params},
                "outs": [self._entry(out) for out in stage.outs],
            }
        YAML().dump({"schema": "2.0", "stages": stages}, self.path / "dvc.lock")

    def _entry(self, item: Output) -> dict[str, str]:
        made_up = hashlib.md5(item.def_path.encode()).hexdigest() + (".dir" if item.def_path == "data/MNIST" else "")
        return {"path": item.def_path, "hash": "md5", "md5": item.get_hash().value if item.exists else made_up}

    def _table(self, name: str, header: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
        (self.path / "plots").mkdir(exist_ok=True)
        with (self.path / f"plots/{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)


POLICY = """\
metrics:
  metrics/eval.json:
    test_acc: {better: higher, tolerated: 0.001, gates: true, noise: {std: 0.0005, seeds: 5}}
    test_f1: {better: higher, tolerated: 0.001, gates: true}
    test_loss: {better: lower, tolerated: 10%, gates: false}
"""
