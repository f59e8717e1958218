"""Actions of a branch: functions on its repository, from which tests build attacks."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.core.files import md5
from src.core.receipt import receipt_path
from tests.unit.history import POLICY, History

METRIC = "metrics/eval.json"
BASE_ERRORS = set(range(0, 1200, 10))
Attack = Callable[[History], Any]


def both(*attacks: Attack) -> Attack:
    """Run attacks in sequence."""

    def run(history: History) -> None:
        for attack in attacks:
            attack(history)

    return run


def locked(*attacks: Attack) -> Attack:
    """Run attacks, and forge matching hashes and receipts."""
    return both(*attacks, lambda history: history.relock())


def based_on(before: Attack, attack: Attack) -> Attack:
    """Run an attack on a modified base."""
    return both(before, lambda history: history.commit("base"), attack)


def put(path: str, text: str) -> Attack:
    return lambda history: history.write(path, text)


def force(path: str, text: str) -> Attack:
    """Add a file that git ignores."""
    return both(put(path, text), lambda history: history.git("add", "--force", path))


def append(path: str, text: str = "# edited\n") -> Attack:
    return lambda history: history.write(path, (history.path / path).read_text() + text)


def swap(path: str, old: str, new: str) -> Attack:
    def run(history: History) -> None:
        text = (history.path / path).read_text()
        assert old in text, old
        history.write(path, text.replace(old, new, 1))

    return run


def delete(path: str) -> Attack:
    return lambda history: (history.path / path).unlink()


def link(path: str, target: str) -> Attack:
    def make(history: History) -> None:
        (history.path / path).unlink(missing_ok=True)
        (history.path / path).symlink_to(target)

    return make


def edit_yaml(change: Callable[[dict[str, Any]], Any], name: str = "dvc.yaml") -> Attack:
    """Edit the stages; metrics without a stage move to the top level."""

    def run(history: History) -> None:
        content = history.read_yaml(name)
        change(content["stages"])
        if METRIC not in str(content["stages"]):
            content["metrics"] = [METRIC]
        history.write_yaml(name, content)

    return run


def without(stage: str, kind: str, path: str) -> Attack:
    """Remove an entry of a stage in dvc.yaml."""

    def drop(stages: dict[str, Any]) -> None:
        entries = stages[stage][kind]
        stages[stage][kind] = [one for one in entries if path not in ((one,) if isinstance(one, str) else one)]

    return edit_yaml(drop)


def in_stage(stage: str, **entries: Any) -> Attack:
    return edit_yaml(lambda stages: stages.setdefault(stage, {}).update(entries))


def other_hash(path: str) -> Attack:
    return lambda history: history.hashes.update({path: "0" * 32})


def lock_entry(text: str) -> Attack:
    """Add keys to the model's entry in dvc.lock."""
    return resub("dvc.lock", r"(path: models/model.safetensors\n +hash: md5\n( +)md5: \w+\n)", rf"\g<1>\g<2>{text}\n")


def resub(path: str, pattern: str, new: str) -> Attack:
    return lambda history: history.write(path, re.sub(pattern, new, (history.path / path).read_text(), count=1))


def receipt(change: Callable[[dict[str, Any]], Any]) -> Attack:
    """Edit the receipt of the training, and lock it."""

    def write(history: History) -> None:
        (content,) = json.loads((history.path / receipt_path("train")).read_text())
        change(content)
        history.write_receipt(content.pop("stage"), **content)

    return both(write, relock_file(receipt_path("train")))


def relock_file(path: str) -> Attack:
    return lambda history: resub("dvc.lock", rf"(path: {path}\n +hash: md5\n +md5: )\w+", rf"\g<1>{md5(Path(path))}")(
        history
    )


def wishful(history: History) -> None:
    history.write_metrics(test_acc=0.9999, test_f1=0.9999, test_loss=0.001)


def worse(history: History, lost: int = 50) -> None:
    """Train a new model with more errors than the base."""
    history.rerun(BASE_ERRORS | set(range(1, 10 * lost, 10)))


def lax(history: History) -> None:
    history.write("metrics_policy.yaml", POLICY.replace("tolerated: 0.001", "tolerated: 0.9"))


def cut(path: str, rows: int = 20) -> Attack:
    """Remove the last rows of a table."""
    return lambda history: history.write(
        path, "".join((history.path / path).read_text().splitlines(keepends=True)[:-rows])
    )
