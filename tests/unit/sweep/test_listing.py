"""The list of experiments against the real dvc."""

import json

from tests.faults.project import Project

EIGHT = ("batch_size", "ema", "epochs", "label_smoothing", "rotation", "scale", "shift", "weight_decay")


def add(project: Project, name: str, acc: float, **params: object) -> None:
    """An experiment with these params and a made-up score."""
    project.set(**params)
    path = project.path / "metrics/train.json"
    metrics = json.loads(path.read_text())
    metrics["final"]["val_acc"] = acc
    path.write_text(json.dumps(metrics))
    project.dvc_ok("exp", "save", "--name", name)


def test_scores_and_whatever_params_differ_are_shown_in_80_columns(project: Project) -> None:
    # DVC adds columns for the state of a queued one.
    project.dvc_ok("exp", "run", "--queue", "--name", "queued", "--set-param", "seed=3")
    add(project, "worse", 0.6, lr=0.01)
    add(project, "better", 0.7, lr=0.02, **dict.fromkeys(EIGHT, 0.25))
    done = project.run("python", "-m", "src.sweep.listing", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:3] == ["experiment", "final.val_acc", "test_acc"]
    first = [line.split()[0] for line in lines if line[1] != " "]
    assert first == ["experiment", "main", "workspace", "better", "worse", "queued"]
    (worse,) = [line.split() for line in lines if "worse" in line]
    assert worse[1] == "60.00%"
    better = done.stdout[done.stdout.index("better") : done.stdout.index(" worse")].split()
    assert {f"{name}=0.25" for name in EIGHT} | {"lr=0.02"} <= {word.rstrip(",") for word in better}
    assert "threads=" not in done.stdout
    (queued,) = [line.split() for line in lines if "queued" in line]
    assert queued[1] == "Queued"
