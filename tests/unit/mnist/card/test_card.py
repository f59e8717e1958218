import csv
import json
import re
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from src.core.errors import UserError
from src.mnist.card.__main__ import main
from src.mnist.card.card import CONFUSION, render_card
from src.mnist.model.network import build_model
from src.noise.measurement import NOISE, format_noise
from src.revision.pipeline import output_md5
from src.revision.revision import open_revision
from tests.faults.project import Project, called, refusal
from tests.unit.noise.measured import measured


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    return reproduced.copy(tmp_path / "project")


def card_of(project: Project) -> str:
    with open_revision(project.path, None) as revision:
        return render_card(revision)


def metrics(project: Project) -> dict[str, float]:
    return json.loads((project.path / "metrics/eval.json").read_text())


def test_card_has_scores_and_provenance(reproduced: Project) -> None:
    card, test = card_of(reproduced), metrics(reproduced)
    for value in (test["test_acc"], test["test_acc_low"], test["test_acc_high"], test["test_ece"]):
        assert f"{value:.2%}" in card
    receipt = json.loads((reproduced.path / "receipts/train.json").read_text())[0]
    assert receipt["outs"]["models/model.safetensors"] in card
    weights = sum(parameter.numel() for parameter in build_model("cnn", seed=0).parameters())
    assert f"linear layers, {weights:,} weights.\n" in card
    assert str(reproduced.path) not in card
    assert "{{" not in card
    assert "\n\n\n" not in card


def test_card_has_error_count_and_most_frequent_confusions(reproduced: Project) -> None:
    with (reproduced.path / CONFUSION).open() as file:
        wrong = [int(row["count"]) for row in csv.DictReader(file) if row["actual"] != row["predicted"]]
    (line,) = [line for line in card_of(reproduced).splitlines() if "misclassified" in line]
    assert line.startswith(f"{sum(wrong)} test images")
    assert [int(count) for count in re.findall(r"\((\d+)\)", line)] == sorted(wrong, reverse=True)[:5]


def test_header_is_valid_for_model_hubs(reproduced: Project) -> None:
    empty, header, _ = card_of(reproduced).split("---\n", 2)
    assert empty == ""
    found = yaml.safe_load(header)
    assert found["pipeline_tag"] == "image-classification"
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    assert {one["type"]: one["value"] for one in result["metrics"]}["accuracy"] == metrics(reproduced)["test_acc"]


def test_card_has_accuracy_over_seeds(project: Project) -> None:
    assert "was not measured for this data and recipe" in card_of(project)
    data = output_md5(project.outs(), "data/MNIST")
    assert data
    noise = measured((0.989, 0.990, 0.991), data, project.read_yaml("params.yaml"))
    (project.path / NOISE).write_text(format_noise([noise]))
    assert "With 3 seeds, this recipe reached 99.00% ± 0.10%" in card_of(project)


def test_card_of_undescribed_data_and_network_has_only_results(project: Project) -> None:
    template = "src/mnist/card/card.md.j2"
    project.edit(template, '  "cnn": "two convolutions and two linear layers",\n', "")
    project.edit(template, '  "digits": "scikit-learn', '  "figures": "scikit-learn')
    project.edit(template, '["mnist", "digits"]', '["mnist", "figures"]')
    done = project.run("python", "-m", "src.mnist.card")
    assert (done.returncode, done.stdout) == (0, "Model card: docs/model_card.md\n"), done.stderr
    card = (project.path / "docs/model_card.md").read_text()
    assert "`cnn`, " in card
    assert f"\n`digits`. Not described yet: add a sentence to `data_sets` in `{template}`.\n" in card
    for name in ("`digits`.", "`dataset: digits`", "dataset: {name: digits, type: digits", "[digits,"):
        card = card.replace(name, "")
    for untrue in ("digit", "official", "photograph", "writers", "post codes", "MNIST"):
        assert untrue not in card


def test_mnist_measurements_are_omitted_for_other_data(reproduced: Project) -> None:
    card = card_of(reproduced)
    assert "photograph" not in card
    assert "25% of the training images train the weights. 75%, " in card


def test_card_includes_additional_metrics(project: Project) -> None:
    with open_revision(project.path, None) as revision:
        values = revision.metrics["metrics/eval.json"]
        assert isinstance(values, dict)
        values["test_kappa"] = 0.75
        assert "\n| kappa | 0.75 | |\n" in render_card(revision)


def test_incomplete_results_are_rejected(project: Project) -> None:
    project.append("metrics/train.json", " ")
    with pytest.raises(UserError, match=r"metrics/train\.json .*; run `dvc repro`"):
        card_of(project)
    (project.path / "dvc.lock").unlink()
    with chdir(project.path):
        done = called(main)
    assert refusal(done)
    assert done.stdout == ""
