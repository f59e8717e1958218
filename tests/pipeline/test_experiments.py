import json
import os
import re

import pytest

from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.fetch.digits import TEST_IMAGES
from tests.conftest import REPOSITORY
from tests.faults.project import Project

HISTORY_PLOTS = {
    "Loss before calibration": ["loss", "val_loss"],
    "Accuracy": ["acc", "val_acc"],
    "F1": ["f1", "val_f1"],
}
PICTURES = {"plots/learning_curve.png", "plots/errors.png"}
TABLES = {"plots/history.csv", "plots/confusion.csv", "plots/errors.csv", "plots/per_class.csv"}


@pytest.fixture(scope="module")
def clone(one_epoch: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone without pulled data."""
    return one_epoch.clone(tmp_path_factory.mktemp("clone") / "project")


def plots(project: Project, *arguments: str) -> dict[str, list[dict]]:
    return json.loads(project.dvc_ok("plots", *arguments, "--json"))["data"]


def columns_drawn(plot: dict) -> list[str]:
    content = plot["content"]
    if "field" in content["encoding"].get("strokeDash", {}):
        return content["encoding"]["strokeDash"]["scale"]["domain"]
    return [content["layer"][0]["encoding"]["y"]["field"]]


def test_experiment_trains_the_requested_epochs(one_epoch: Project) -> None:
    rows = (one_epoch.path / "plots/history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1"]
    assert one_epoch.read_yaml("params.yaml")["epochs"] == 1


def test_metrics_diff_works_in_a_clone(clone: Project) -> None:
    old = json.loads(clone.git("show", "HEAD~1:metrics/eval.json"))
    new = json.loads((clone.path / "metrics/eval.json").read_text())
    diff = json.loads(clone.dvc_ok("metrics", "diff", "HEAD~1", "--json"))["metrics/eval.json"]
    assert set(diff) == {name for name in new if new[name] != old[name]}
    assert diff["test_loss"]["old"] == old["test_loss"]
    assert diff["test_loss"]["new"] == new["test_loss"]


def test_plots_draw_everything_once_in_a_clone_and_leave_git_clean(clone: Project) -> None:
    shown = plots(clone, "diff", "HEAD~1")
    revisions = {"workspace", "HEAD~1"}
    assert set(shown) == {*HISTORY_PLOTS, *PICTURES, *TABLES}
    for name in PICTURES:
        assert sorted(plot["revisions"] for plot in shown[name]) == sorted([revision] for revision in revisions)
    for name in shown.keys() - PICTURES:
        assert [set(plot["revisions"]) for plot in shown[name]] == [revisions]
    of_history = {name: columns_drawn(shown[name][0]) for name in [*HISTORY_PLOTS, "plots/history.csv"]}
    assert of_history == HISTORY_PLOTS | {"plots/history.csv": ["lr"]}
    assert clone.git("status", "--porcelain") == ""


def test_confusion_plot_uses_the_projects_template(clone: Project) -> None:
    content = plots(clone, "diff", "HEAD~1", "--targets", "plots/confusion.csv")["plots/confusion.csv"][0]["content"]
    ours = json.loads((clone.path / ".dvc/plots/confusion_counts.json").read_text())
    assert [layer["mark"] for layer in content["spec"]["layer"]] == [layer["mark"] for layer in ours["spec"]["layer"]]
    assert "<DVC_METRIC" not in json.dumps(content)
    values = content["data"]["values"]
    assert len(values) == 2 * NUM_CLASSES**2
    assert sum(int(value["count"]) for value in values) == 2 * TEST_IMAGES


@pytest.mark.fault(74)
def test_documented_undo_restores_files_that_git_considers_unchanged(toy: Project) -> None:
    path, card = toy.path / "metrics/eval.json", toy.path / "docs/model_card.md"
    committed = path.read_text()
    card.parent.mkdir()
    card.write_text("committed\n")
    toy.commit()
    # State after DVC restores results within the second in which it checked out the committed ones.
    toy.git("config", "core.trustctime", "false")
    os.utime(path, (0, 0))
    toy.git("update-index", "--refresh")
    path.write_text(committed.replace("1", "2"))
    os.utime(path, (0, 0))
    assert toy.git("status", "--short") == ""
    card.write_text("of another model\n")
    # A stage that failed after it wrote them leaves outputs that DVC would not replace.
    model = toy.path / "models/model.safetensors"
    trained = model.read_bytes()
    model.unlink()
    model.write_bytes(b"of a failed stage")
    # `dvc exp run -S` stages what it sets, and leaves it so if it is killed.
    toy.set(seed=9)
    toy.git("add", "params.yaml")
    (way_back,) = re.findall(r"^\$ (rm .*)$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    done = toy.run("sh", "-c", way_back)
    assert done.returncode == 0, done.stderr
    assert (path.read_text(), model.read_bytes()) == (committed, trained)
    assert toy.git("status", "--short") == ""
