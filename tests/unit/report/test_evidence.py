"""The decision table in docs/review.md, and the commit that a change is compared with."""

from typing import Any

import pytest

from src.noise.measurement import NOISE, Measurement, format_noise, seed_noise
from src.report.finding import Level
from src.report.metrics import weigh
from src.revision.revision import open_revision
from tests.unit.history import IMAGES, POLICY, History
from tests.unit.noise.measured import FILE, measured
from tests.unit.report.attacks import BASE_ERRORS, locked, other_hash, put, swap, worse
from tests.unit.report.conftest import FAIL, PASS, UNKNOWN, judge, reasons, texts, verdict_of


def three_seeds(std: float, **recipe: Any) -> Measurement:
    """A measurement with this standard deviation of the accuracy."""
    return measured([0.988 - seed * std for seed in range(3)], images=IMAGES, **recipe)


# With three seeds 95% of pairs differ by less than 4.303 * sqrt(2) * std = 6.1 * std.
SEED_NOISE = {"within": three_seeds(0.001), "more": three_seeds(0.0001), "unknown": None}


@pytest.mark.parametrize(
    ("seeds", "p_chance", "level", "why"),
    [
        ("within", 0.3, Level.NOTE, "but another seed changes as much"),
        ("within", 0.001, Level.NOTE, "but another seed changes as much"),
        ("within", None, Level.NOTE, "but another seed changes as much"),
        ("more", 0.3, Level.UNSURE, "chance on this test set gives as much, another seed does not"),
        ("more", 0.001, Level.FAIL, "lost more than allowed"),
        ("more", None, Level.FAIL, "lost more than allowed"),
        ("unknown", 0.3, Level.UNSURE, "gives as much, the effect of another seed is not known"),
        ("unknown", 0.001, Level.FAIL, "lost more than allowed"),
        ("unknown", None, Level.FAIL, "lost more than allowed"),
    ],
)
def test_loss_beyond_the_tolerance_fails(seeds: str, p_chance: float | None, level: Level, why: str) -> None:
    measurement = SEED_NOISE[seeds]
    found, text = weigh(-0.004, p_chance, seed_noise(measurement, measurement, FILE, "test_acc"))
    assert found is level
    assert text.plain.startswith("lost more than allowed")
    assert text.plain.endswith(why)


def test_mcnemar_applies_only_to_accuracy_metrics(history: History) -> None:
    history.rerun((BASE_ERRORS - set(range(0, 170, 10))) | set(range(1, 300, 10)))
    history.commit("chance gives as much")
    assert judge("main~1")[0] == UNKNOWN
    policy = (history.path / "metrics_policy.yaml").read_text()
    history.git("reset", "-q", "--soft", "main~1")
    history.write("metrics_policy.yaml", policy.replace("mcnemar: true", "mcnemar: false"))
    history.git("commit", "-q", "-m", "no test", "metrics_policy.yaml")
    assert judge("main")[0] == FAIL


def record_noise(history: History, std: float) -> None:
    """The seeds of the recipe that `main` has, on its data."""
    with open_revision(history.path, "main") as revision:
        data = revision.data_hashes(["data/MNIST"])["data/MNIST"]
    assert data
    history.write(NOISE, format_noise([three_seeds(std, data=data, params=history.params())]))


def test_loss_within_seed_noise_passes_with_a_note(history: History) -> None:
    record_noise(history, 0.001)
    history.commit("measured")
    worse(history)
    outcome, markdown = judge()
    assert outcome == PASS, markdown
    assert "**Note:** `test_acc`, `test_f1`: lost more than allowed, but another seed changes as much" in markdown
    words = "Another seed changes as much (`test_acc`: 95% of pairs of seeds differ by less than 0.0061, 3 seeds"
    assert words in markdown


@pytest.mark.parametrize("params", ["epochs: 10", "epochs: 11"], ids=["that the change brings", "of another recipe"])
def test_inapplicable_noise_is_ignored(history: History, params: str) -> None:
    record_noise(history, 0.1)
    if params != "epochs: 10":
        history.commit("measured")
    swap("params.yaml", "epochs: 10", params)(history)
    worse(history)
    outcome, markdown = judge()
    assert outcome == FAIL
    assert "Another seed: not measured for this recipe" in markdown


def test_branch_is_compared_with_its_merge_base(history: History) -> None:
    history.git("branch", "theirs")
    history.rerun(range(0, 800, 10))
    history.commit("main became better")
    history.commit("and went on")
    history.git("checkout", "-q", "theirs")
    history.write("README.md", "only this")
    history.commit("their own change")
    outcome, markdown = judge("main", "theirs")
    assert outcome == PASS
    assert "2 commits behind `main`: compared with the commit where the branch began" in markdown
    assert judge("theirs~1", "main")[0] == PASS, "an ancestor is no branch"
    assert "behind" not in judge("main", "main~1")[1]


def test_lax_policy_of_an_old_merge_base_does_not_apply(history: History) -> None:
    tip = history.git("rev-parse", "main")
    history.write("metrics_policy.yaml", POLICY.replace("tolerated: 0.001", "tolerated: 0.5"))
    lax = history.commit("lax")
    history.git("checkout", "-q", "-b", "theirs")
    worse(history)
    history.commit("worse")
    history.git("checkout", "-q", "main")
    history.git("checkout", tip, "--", "metrics_policy.yaml")
    history.commit("strict again")
    assert history.git("merge-base", "main", "theirs") == lax
    assert judge("main", "theirs")[0] == FAIL


def test_merge_base_may_lack_a_metric(history: History) -> None:
    history.git("branch", "theirs")
    put(
        "metrics_policy.yaml",
        POLICY.replace("test_f1: {b", "new: {better: higher, tolerated: 0, required: true}\n    test_f1: {b"),
    )(history)
    locked(swap(FILE, '"test_acc"', '"new": 1, "test_acc"'))(history)
    history.commit("a metric")
    history.git("switch", "-q", "theirs")
    history.write("README.md", "theirs")
    history.commit("theirs")
    assert reasons("main", "theirs", "metrics") == [
        "new: missing, since the branch began before main had it: merge that"
    ]
    assert judge("main", "theirs")[0] == UNKNOWN


def test_merge_base_must_have_results(history: History) -> None:
    history.git("rm", "-q", "dvc.lock")
    history.git("commit", "-qm", "before")
    history.git("branch", "theirs")
    history.git("revert", "--no-edit", "HEAD")
    history.git("switch", "-q", "theirs")
    worse(history)
    history.commit("worse")
    assert reasons("main", "theirs", "metrics") == ["test_acc, test_f1: lost more than allowed"]


def test_branch_cannot_choose_its_merge_base(history: History) -> None:
    """If main has merged a bad commit, a branch that merges it and an older main has two merge bases."""
    start = history.git("rev-parse", "main")
    history.git("switch", "-q", "-c", "side")
    history.rerun(range(0, 3000, 10))
    bad = history.commit("bad")
    history.git("switch", "-q", "main")
    history.write("README.md", "more")
    good = history.commit("good")
    merge = ("commit-tree", "-m", "merged", "-p", good, "-p", bad)
    history.git("reset", "-q", "--hard", history.git(*merge, f"{good}^{{tree}}"))
    history.git("switch", "-q", "-c", "theirs", history.git(*merge, f"{bad}^{{tree}}"))
    history.write("README.md", "theirs")
    history.commit("as bad")
    assert set(history.git("merge-base", "--all", "main", "theirs").split()) == {good, bad}
    outcome, markdown = judge("main", "theirs")
    assert outcome == FAIL
    assert "the branch began more than once from `main`: compared with that revision itself" in markdown
    assert verdict_of("main", "theirs")["base"] == history.git("rev-parse", "main")
    history.git("switch", "-q", "--orphan", "unrelated")
    history.git("checkout", "-q", start, "--", ".")
    history.commit("no history")
    outcome, markdown = judge("main", "unrelated")
    assert outcome == PASS
    assert "the branch has no commit in common with `main`: compared with that revision itself" in markdown


BAR = POLICY.replace("tolerated: 0.001,", "tolerated: 0.001, since_reference: 0.002,", 1)


def test_small_losses_accumulate_against_the_reference(history: History) -> None:
    history.git("tag", "reference")
    history.write("metrics_policy.yaml", BAR + "reference: reference\n")
    worse(history, 18)
    history.commit("lost 18 so far, accepted")
    assert judge("main")[0] == PASS
    worse(history, 27)
    outcome, markdown = judge("main")
    assert outcome == FAIL
    assert "`test_acc`: lost 0.0027 since the policy's reference `reference`, may lose 0.0020" in markdown


def test_loss_since_the_reference_may_be_chance(history: History) -> None:
    history.git("tag", "reference")
    history.write("metrics_policy.yaml", BAR + "reference: reference\n")
    history.commit("a bar")
    history.rerun(set(range(1, 1310, 10)) | set(range(0, 110, 10)))
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN
    (found,) = texts(verdict, "since_reference")
    said = "test_acc: lost 0.0022 since the policy's reference reference, may lose 0.0020: lost more than allowed"
    assert found.startswith(f"{said}; chance on")


def test_reference_on_other_data_is_reported(history: History) -> None:
    history.git("tag", "reference")
    history.write("metrics_policy.yaml", BAR + "reference: reference\n")
    locked(other_hash("data/MNIST/raw/t10k-images-idx3-ubyte"))(history)
    history.commit("own data")
    (found,) = reasons("HEAD", check="since_reference")
    assert found == (
        "the policy's reference reference was scored on other data; name a commit with results of this data as "
        "reference in metrics_policy.yaml"
    )


@pytest.mark.parametrize("name", ["gone", "main", "short hash"])
def test_missing_or_moving_reference_cannot_be_judged(history: History, name: str) -> None:
    """Anyone who may push can move a branch, or make a short hash ambiguous."""
    name = history.git("rev-parse", "--short=7", "main") if name == "short hash" else name
    put("metrics_policy.yaml", f"{BAR}reference: '{name}'\n")(history)
    history.commit("a bar")
    verdict = verdict_of("main")
    assert verdict["outcome"] == UNKNOWN
    (found,) = texts(verdict, "since_reference")
    assert f"refs/tags/{name}: is not a revision in this clone; try `git fetch" in found
    assert found.endswith("set reference in metrics_policy.yaml to a tag or full commit hash of this clone")
