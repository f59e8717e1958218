"""The guard is independent of MNIST: it runs a different pipeline unchanged."""

import json
import shutil
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.guard.stage import read_params, read_stages
from tests.faults.project import ROOT, Project, refusal

COUNT = '''
"""Counts words."""

from collections import Counter
from pathlib import Path

from src.core.files import write_json
from src.core.run import ReceiptFields, Run, versions


def main(run: Run) -> ReceiptFields:
    """Count the words of all texts that are long enough."""
    words = [word for text in sorted(Path("texts").iterdir()) for word in text.read_text().split()]
    write_json(Path("counts.json"), Counter(word for word in words if len(word) >= run.params["words.shortest"]))
    return ReceiptFields(versions(), {"kind": "any"})
'''
RANK = '''
"""Names the most frequent word."""

import json
from pathlib import Path

from src.core.files import write_text
from src.core.run import ReceiptFields, Run, versions


def main(run: Run) -> ReceiptFields:
    """Write it to a file."""
    counts = json.loads(Path("counts.json").read_text())
    write_text(Path("top.txt"), max(sorted(counts), key=counts.__getitem__))
    return ReceiptFields(versions())
'''
DVC = """
stages:
  count:
    cmd: exec python -I stages/__main__.py count
    deps: [stages/count.py, src/core, texts]
    params: [words.shortest]
    outs: [counts.json]
    metrics:
      - receipts/count.json: {cache: false}
  rank:
    cmd: exec python -I stages/__main__.py rank
    deps: [stages/rank.py, src/core, counts.json]
    outs: [top.txt]
    metrics:
      - receipts/rank.json: {cache: false}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("made") / "words"
    for name in ("src/core", "src/guard"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "stages").mkdir()
    for name in ("src/__init__.py", "stages/__init__.py", "stages/__main__.py", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name, text in {"stages/count.py": COUNT, "stages/rank.py": RANK, "dvc.yaml": DVC}.items():
        (folder / name).write_text(text)
    (folder / "params.yaml").write_text("words:\n  shortest: 3\n  large: 9007199254740993\n")
    (folder / "texts").mkdir()
    (folder / "texts/one").write_text("one two two of of of")
    project = Project(folder)
    project.init()
    project.dvc_ok("init", "--quiet")
    project.commit()
    return project


@pytest.fixture
def words(made: Project, tmp_path: Path) -> Project:
    return made.copy(tmp_path / "words")


def test_other_pipeline_runs_and_reruns_after_changes(words: Project) -> None:
    words.repro()
    assert (words.path / "top.txt").read_text() == "two"
    assert json.loads((words.path / "receipts/count.json").read_text())[0]["params"] == {"words.shortest": 3}
    assert "didn't change" in words.repro()
    (words.path / "params.yaml").write_text("words:\n  shortest: 2\n  large: 9007199254740993\n")
    words.repro()
    assert (words.path / "top.txt").read_text() == "of"


def test_paths_are_normalised_and_nested_repositories_are_skipped(words: Project) -> None:
    words.edit("dvc.yaml", "[stages/count.py, src/core, texts]", "[./stages/count.py, src/core/, texts/]")
    words.edit("dvc.yaml", "outs: [counts.json]", "outs: [./counts.json]")
    words.git("init", "--quiet", "texts")
    words.edit("stages/count.py", ".iterdir()", '.glob("o*")')
    words.repro()
    assert (words.path / "top.txt").read_text() == "two"
    assert "didn't change" in words.repro()


# What the first stage declares to write, and what the second one declares to read.
@pytest.mark.fault(47, 48)
@pytest.mark.parametrize(
    ("out", "dep"),
    [("made", "made/counts.json"), ("made/counts.json", "receipts/count.json, made")],
)
def test_result_that_contradicts_its_receipt_is_rejected_in_any_folder(words: Project, out: str, dep: str) -> None:
    for stage in ("count", "rank"):
        words.edit(f"stages/{stage}.py", "counts.json", "made/counts.json")
    words.edit("dvc.yaml", "[counts.json]", f"[{out}]")
    words.edit("dvc.yaml", ", counts.json]", f", {dep}]")
    words.repro()
    words.append("stages/count.py", "# edited\n")
    words.dvc_ok("commit", "--force", "count")
    said = refusal(words.forked_stage("rank"))
    assert said.startswith("rank: dvc.lock contradicts receipts/count.json in stages/count.py; run ")


@pytest.mark.fault(59)
def test_output_that_was_not_written_is_rejected_without_a_receipt(words: Project) -> None:
    words.edit("dvc.yaml", "    metrics:\n      - receipts/count.json: {cache: false}\n", "")
    words.edit("dvc.yaml", "[counts.json]", "[{counts.json: {persist: true}}]")
    words.repro()
    words.edit("stages/count.py", "    write_json(", '    Path("counts.json").exists() or write_json(')
    done = words.dvc("repro")
    assert done.returncode != 0
    assert (
        "count: counts.json: is not what the stage wrote with src.core.files in this run" in done.stderr + done.stdout
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("params: [words.shortest]", "params: [words.longest]", "words.longest"),
        ("params: [words.shortest]", "params: [{other.yaml: [a]}]", "other.yaml"),
        ("    deps: [stages/count.py", "    wdir: .\n    deps: [stages/count.py", "stage count uses wdir"),
    ],
)
def test_unsupported_dvc_yaml_is_rejected(
    words: Project, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    words.edit("dvc.yaml", old, new)
    monkeypatch.chdir(words.path)
    with pytest.raises(UserError, match=said):
        read_params(read_stages()["count"].params)


# In JSON, the key would be text.
@pytest.mark.parametrize("value", [".nan", "2026-01-02", "{1: 0.5}"])
def test_unrecordable_param_is_rejected_before_the_stage_runs(words: Project, value: str) -> None:
    (words.path / "params.yaml").write_text(f"words:\n  shortest: {value}\n")
    assert refusal(words.forked_stage("count")).startswith("count: params.yaml: words.shortest")
