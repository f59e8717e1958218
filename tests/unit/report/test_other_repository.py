"""A repository like DVC's example-get-started, without files of this project."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.core.receipt import receipt_path
from tests.unit.history import History
from tests.unit.report.conftest import FAIL, PASS, UNKNOWN, reasons, texts, verdict_of

PIPELINE = """\
stages:
  prepare:
    cmd: python src/prepare.py data/data.xml
    deps: [data/data.xml, src/prepare.py]
    params: [prepare.seed, prepare.split]
    outs: [data/prepared]
  featurize:
    cmd: python src/featurization.py data/prepared data/features
    deps: [data/prepared, src/featurization.py]
    params: [featurize.max_features]
    outs: [data/features]
  train:
    cmd: python src/train.py data/features model.pkl
    deps: [data/features, src/train.py]
    params: [train.seed]
    outs: [model.pkl]
  evaluate:
    cmd: python src/evaluate.py model.pkl data/features
    deps: [data/features, model.pkl, src/evaluate.py]
    outs: [{eval: {cache: false}}]
metrics: [eval/metrics.json]
plots: [{ROC: {template: simple, x: fpr, y: {eval/roc.json: tpr}}}, eval/importance.png]
"""
PARAMS = """\
prepare: {split: 0.20, seed: 20170428}
featurize: {max_features: 100}
train: {seed: 20170428}
"""
POLICY = """\
version: 2
metrics:
  eval/metrics.json:
    avg_prec.test: {better: higher, tolerated: 0.01, required: true}
    roc_auc.test: {better: higher, tolerated: 0.01, required: false}
"""


def write_results(history: History, avg_prec: float = 0.925) -> None:
    history.write("eval/metrics.json", f'{{"avg_prec": {{"test": {avg_prec}}}, "roc_auc": {{"test": 0.95}}}}')
    history.write("eval/roc.json", "[]")


def track(history: History, md5: str) -> None:
    history.write("data/data.xml.dvc", f"outs:\n- md5: {md5}\n  size: 9\n  hash: md5\n  path: data.xml\n")
    history.hashes |= {"data/data.xml": md5, "data/prepared": md5, "data/features": md5}


def commit_base(history: History, *edits: tuple[str, str], params: str = PARAMS) -> None:
    """Commit results of an edited pipeline, or of other params."""
    pipeline = PIPELINE
    for old, new in edits:
        assert old in pipeline
        pipeline = pipeline.replace(old, new)
    history.write("dvc.yaml", pipeline)
    history.write("params.yaml", params)
    history.relock()
    history.commit("base")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    history = History(tmp_path)
    monkeypatch.chdir(tmp_path)
    history.init()
    history.write(".dvc/config", "")
    history.write("metrics_policy.yaml", POLICY)
    history.write(".gitignore", "/model.pkl\n/data/prepared\n/data/features\n/data/data.xml\n")
    for name in ("prepare", "featurization", "train", "evaluate"):
        history.write(f"src/{name}.py", name)
    write_results(history)
    track(history, "a" * 32)
    commit_base(history)
    assert not (tmp_path / receipt_path("train")).exists()
    return history


def train_anew(history: History) -> None:
    history.write("src/train.py", "another training")
    history.hashes["model.pkl"] = "b" * 32


def keep_in_git(history: History) -> None:
    """Change the content of the test data."""
    history.write("src/featurization.py", "another data")
    history.write("data/features/part", "other")
    history.git("add", "--force", "data/features")
    history.hashes |= {"model.pkl": "c" * 32}
    write_results(history, 0.95)


def evaluate_anew(history: History) -> None:
    history.write("src/evaluate.py", "another evaluation")


def shadow(history: History) -> None:
    """Add a module that `python src/evaluate.py` imports instead of the library."""
    history.write("src/sklearn/__init__.py", "1")
    better(history)


def better(history: History) -> None:
    train_anew(history)
    write_results(history, 0.95)


def worse(history: History) -> None:
    train_anew(history)
    write_results(history, 0.9)


def another_data(history: History) -> None:
    track(history, "c" * 32)
    history.hashes["model.pkl"] = "c" * 32
    write_results(history, 0.7)


def only_data(history: History) -> None:
    """The scoring stage trains, too: what it reads is no model, though a stage makes it."""
    commit_base(history, ("deps: [data/features, model.pkl, src/e", "deps: [data/features, src/e"))
    history.write("src/featurization.py", "another data")
    history.hashes |= {"data/features": "c" * 32, "model.pkl": "c" * 32}
    write_results(history, 0.95)


def data_in_git(history: History) -> None:
    history.write("test/a.csv", "1")
    commit_base(history, ("deps: [data/features, model.pkl, src/e", "deps: [test, model.pkl, src/e"))
    better(history)


def same_prepared_data(history: History) -> None:
    """Different source data, from which the first stage produces the same output."""
    before = dict(history.hashes)
    track(history, "c" * 32)
    history.hashes = {**before, "data/data.xml": "c" * 32}


def another_file_tracked(history: History) -> None:
    """By the .dvc file of data that is in git now."""
    history.write("data/data.xml", "data")
    history.git("add", "--force", "data/data.xml")
    history.write("data/data.xml.dvc", f"outs:\n- md5: {'c' * 32}\n  size: 9\n  hash: md5\n  path: sklearn.py\n")


def scoring_param(history: History) -> None:
    """Of a stage that keeps something in the cache, too."""
    edit = ("outs: [{eval:", "params: [evaluate.images]\n    outs: [answers.csv, {eval:")
    commit_base(history, edit, params=PARAMS + "evaluate: {images: 100}\n")
    history.write("params.yaml", PARAMS + "evaluate: {images: 10}\n")


ONLY_A_PART = ("deps: [data/prepared,", "deps: [data/prepared/train.tsv,")


def part_of_a_folder(history: History) -> None:
    """The folder is the same."""
    commit_base(history, ONLY_A_PART)
    better(history)


def outputs_that_nothing_keeps(history: History) -> None:
    """Neither git nor the cache, as `dvc repro` makes them."""
    commit_base(history, ONLY_A_PART, ("[data/prepared]", "[{data/prepared: {cache: false}}]"))
    better(history)


def part_of_another_folder(history: History) -> None:
    """Which was made again; DVC may run the stage that reads the part."""
    part_of_a_folder(history)
    history.write("src/prepare.py", "another preparation")
    history.hashes["data/prepared"] = "c" * 32


def reformatted(history: History) -> None:
    pipeline = PIPELINE.replace("[prepare.seed, prepare.split]", "\n    - prepare.split\n    - prepare.seed")
    history.write("dvc.yaml", pipeline.replace("[data/data.xml, src/prepare.py]", "[./src/prepare.py, data/data.xml]"))


def part_of_a_folder_made_twice(history: History) -> None:
    """Training may have read the part as it was after the first time."""
    part_of_another_folder(history)
    history.hashes["data/prepared/train.tsv"] = "d" * 32


def free_param(history: History) -> None:
    """The code may read all of the file."""
    history.write("params.yaml", PARAMS.replace("max_features: 100", "max_features: 100, ngrams: 2"))


def hidden_param(history: History) -> None:
    """Nested, and with a dot in its name."""
    history.write("params.yaml", "train.seed: 7\n" + PARAMS)


WHOLE_MAPPING = ("params: [train.seed]", "params: [train]")


def param_beside_a_mapping(history: History) -> None:
    """With a name as if it were in the mapping, which the lock records as a whole."""
    commit_base(history, WHOLE_MAPPING)
    history.write("params.yaml", "train.rate: 7\n" + PARAMS)


def param_of_a_mapping(history: History) -> None:
    commit_base(history, WHOLE_MAPPING, params=PARAMS.replace("train: {", "train: {rate: 7, old: 1, "))
    history.write("params.yaml", PARAMS.replace("train: {", "train: {rate: 8, new: 1, "))
    better(history)


def whole_file_of_params(history: History) -> None:
    """Its hash covers every param."""
    commit_base(history, ("deps: [data/prepared,", "deps: [data/prepared, params.yaml,"))
    free_param(history)


def into_the_cache(history: History) -> None:
    history.write("dvc.yaml", PIPELINE.replace("{eval: {cache: false}}", "eval"))
    history.write(".gitignore", (history.path / ".gitignore").read_text() + "/eval\n")


@pytest.mark.parametrize(
    ("edit", "outcome", "check"),
    [
        (lambda _: None, PASS, "receipts"),
        (train_anew, PASS, "receipts"),
        (better, PASS, "receipts"),
        (worse, FAIL, "metrics"),
        (another_data, UNKNOWN, "data"),
        (only_data, UNKNOWN, "data"),
        (data_in_git, PASS, "receipts"),
        (same_prepared_data, PASS, "receipts"),
        (another_file_tracked, UNKNOWN, "files"),
        (keep_in_git, UNKNOWN, "data"),
        (evaluate_anew, UNKNOWN, "scorer"),
        (shadow, UNKNOWN, "files"),
        (reformatted, PASS, "receipts"),
        (free_param, UNKNOWN, "files"),
        (hidden_param, UNKNOWN, "files"),
        (param_beside_a_mapping, UNKNOWN, "files"),
        (param_of_a_mapping, PASS, "receipts"),
        (whole_file_of_params, PASS, "receipts"),
        (scoring_param, UNKNOWN, "scorer"),
        (part_of_a_folder, PASS, "receipts"),
        (outputs_that_nothing_keeps, PASS, "receipts"),
        (part_of_another_folder, UNKNOWN, "lock"),
        (part_of_a_folder_made_twice, UNKNOWN, "lock"),
    ],
)
def test_outcome_of_a_change_with_its_results(
    other: History, edit: Callable[[History], object], outcome: str, check: str
) -> None:
    edit(other)
    other.relock()
    verdict = verdict_of("main")
    assert verdict["outcome"] == outcome, verdict
    assert texts(verdict, check)
    assert bool(texts(verdict, "data")) == (check == "data"), "code is no data"


def test_output_in_git_lfs_is_not_called_edited(other: History) -> None:
    """Git has only the name of its content, whose hash is in dvc.lock."""
    other.write("eval/roc.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN
    assert texts(verdict, "outputs") == [
        "eval/roc.json of working tree: is in Git LFS, which is not read; keep it in git itself"
    ]


def test_edits_without_a_run_are_stale(other: History) -> None:
    other.write("src/train.py", "edited")
    assert verdict_of("main")["outcome"] == FAIL
    other.git("checkout", "-q", "--", ".")
    write_results(other, 0.99)
    assert reasons("main", check="outputs") == ["eval: differs from what dvc.lock records"]


def test_outputs_of_the_model_stage_may_be_data(other: History) -> None:
    """Until the policy says which of its outputs is."""
    other.hashes["test.pkl"] = "a" * 32
    read = ("deps: [data/features, model.pkl,", "deps: [test.pkl, model.pkl,")
    commit_base(other, read, ("outs: [model.pkl]", "outs: [model.pkl, test.pkl]"))
    better(other)
    other.hashes["test.pkl"] = "b" * 32
    other.relock()
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN
    (found,) = texts(verdict, "data")
    assert found.endswith("if a model is among them, name the data as data in metrics_policy.yaml")
    other.git("stash", "-q")
    other.write("metrics_policy.yaml", POLICY + "data: test.pkl\n")
    other.commit("a policy that says so")
    other.git("stash", "pop", "-q")
    assert reasons("main", check="data") == [found.partition("; if")[0].replace("model.pkl, ", "")]
    other.hashes["test.pkl"] = "a" * 32
    other.relock()
    assert verdict_of("main")["outcome"] == PASS


def test_policy_names_the_scorer_of_a_stage_that_trains_and_scores(other: History) -> None:
    other.write("metrics_policy.yaml", POLICY + "scorer: [src/prepare.py, 'params.yaml:images']\n")
    read = ("\n    outs: [{eval:", "\n    params: [rate, images]\n    outs: [{eval:")
    commit_base(other, read, params=PARAMS + "rate: 1\nimages: 9\n")
    other.write("params.yaml", PARAMS + "rate: 2\nimages: 9\n")
    other.write("src/evaluate.py", "another training")
    write_results(other, 0.95)
    other.relock()
    assert verdict_of("main")["outcome"] == PASS
    other.write("params.yaml", PARAMS + "rate: 2\nimages: 8\n")
    other.relock()
    assert reasons("main", check="scorer") == ["the scorer changed, read its diff: params.yaml:images"]


@pytest.mark.parametrize("named", ["src/evaluate.py", "'params.yaml:images'"])
def test_policy_that_names_only_files_or_params_leaves_the_others_of_the_scorer(other: History, named: str) -> None:
    other.write("metrics_policy.yaml", POLICY + f"scorer: [{named}]\n")
    read = ("\n    outs: [{eval:", "\n    params: [images]\n    outs: [{eval:")
    commit_base(other, read, params=PARAMS + "images: 9\n")
    other.write("params.yaml", PARAMS + "images: 8\n")
    evaluate_anew(other)
    other.relock()
    assert reasons("main", check="scorer") == ["the scorer changed, read its diff: src/evaluate.py, params.yaml:images"]


def test_metrics_in_the_cache_are_not_read(other: History) -> None:
    other.git("rm", "-rq", "--cached", "eval")
    into_the_cache(other)
    other.relock()
    other.commit("in the cache")
    train_anew(other)
    other.relock()
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN
    assert texts(verdict, "metrics") == [
        "avg_prec.test: its file is in DVC's cache, which the report does not read; "
        "cache: false in dvc.yaml puts it in git"
    ]
    other.write("dvc.yaml", PIPELINE)
    other.write(".gitignore", (other.path / ".gitignore").read_text().replace("/eval\n", ""))
    other.relock()
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN, "what is in git now may be worse"
    assert texts(verdict, "metrics")[0].startswith("avg_prec.test: the old value is not a number: its file is in DVC's")
