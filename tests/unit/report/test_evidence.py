"""The decision table in docs/review.md, and the commit that a change is compared with."""

from pathlib import Path
from statistics import stdev

import pytest

from benchmarks.gate import bar, left_out_alarms, margins, rates
from src.noise.measurement import NOISE, Measurement, format_noise, measure_noise
from src.report.command import judge_revisions
from src.report.evidence import Seeds, weigh
from src.report.markdown import render_markdown
from src.report.metrics import Reading, Row, Standing
from src.report.policy import Rule
from src.report.verdict import Outcome
from tests.unit.history import IMAGES, POLICY, REPOSITORY, History
from tests.unit.report.conftest import judge
from tests.unit.report.test_verdict import BASE_ERRORS, locked, part

FILE = "metrics/eval.json"
RULE = Rule(better="higher", tolerated=0.001, gates=True, mcnemar=True)


def measured(std: float, data: str = "abc.dir", params: dict[str, object] | None = None) -> Measurement:
    """Three seeds with this standard deviation of the accuracy."""
    runs = [
        {
            "seed": seed,
            "metrics": {FILE: {"test_acc": 0.988 - seed * std, "test_f1": 0.988 - seed * std}},
            "wrong": range(min(IMAGES, round((0.012 + seed * std) * IMAGES))),
        }
        for seed in range(3)
    ]
    return measure_noise(data, params or {}, "a machine", IMAGES, runs)


def lost(amount: float, rule: Rule = RULE) -> Row:
    old, new = Reading(0.99), Reading(0.99 - amount)
    return Row(FILE, "test_acc", "test_acc", old, new, rule, Standing.BROKEN, f"lost {amount}")


# With three seeds 95% of pairs differ by less than 4.303 * sqrt(2) * std = 6.1 * std.
SEED_NOISE = {"within": measured(0.001), "more": measured(0.0001), "unknown": None}


@pytest.mark.parametrize(
    ("seeds", "p_chance", "standing", "why"),
    [
        ("within", 0.3, Standing.EXPLAINED, "but another seed changes as much"),
        ("within", 0.001, Standing.EXPLAINED, "but another seed changes as much"),
        ("within", None, Standing.EXPLAINED, "but another seed changes as much"),
        ("more", 0.3, Standing.UNKNOWN, "chance on this test set gives as much"),
        ("more", 0.001, Standing.BROKEN, "more than chance on this test set gives, and more than another seed"),
        ("more", None, Standing.BROKEN, "more than another seed changes"),
        ("unknown", 0.3, Standing.UNKNOWN, "and the effect of another seed is not known"),
        ("unknown", 0.001, Standing.BROKEN, "and the effect of another seed is not known"),
        ("unknown", None, Standing.BROKEN, "the effect of another seed is not known"),
    ],
)
def test_a_loss_beyond_the_tolerance(seeds: str, p_chance: float | None, standing: Standing, why: str) -> None:
    measurement = SEED_NOISE[seeds]
    (row,) = weigh([lost(0.004)], p_chance, Seeds(measurement, measurement))
    assert row.standing is standing
    assert row.why.startswith("lost 0.004")
    assert why in row.why


def test_mcnemars_test_applies_only_to_metrics_that_count_right_answers() -> None:
    (row,) = weigh([lost(0.004, RULE.model_copy(update={"mcnemar": False}))], 0.3, Seeds(None, None))
    assert row.standing is Standing.BROKEN


def test_no_evidence_excuses_what_is_no_loss() -> None:
    missing = Row(FILE, "test_acc", "test_acc", Reading(0.99), Reading(None, "NaN"), RULE, Standing.BROKEN, "NaN")
    assert weigh([missing], 0.9, Seeds(measured(1), measured(1))) == [missing]


def record_noise(history: History, std: float) -> None:
    """The seeds of the recipe that `main` has, on its data."""
    data = locked((history.path / "dvc.lock").read_text(), "data/MNIST") + ".dir"
    history.write(NOISE, format_noise([measured(std, data, history.params())]))


def worse(history: History, lost: int) -> None:
    history.write_results(BASE_ERRORS | set(range(1, 10 * lost, 10)))
    history.relock()


def test_a_loss_that_another_seed_explains_passes_and_says_so(history: History) -> None:
    record_noise(history, 0.001)
    history.commit("measured")
    worse(history, 50)
    outcome, markdown = judge()
    assert outcome is Outcome.PASS, markdown
    assert "- 0 of 2 metrics that gate hold" in markdown
    assert "- `test_acc`: lost 0.005, may lose 0.001, but another seed changes as much" in markdown
    assert "`test_acc` changed by 0.005, **within** what another seed gives" in markdown
    assert "the accuracy of this recipe has a standard deviation of 0.100% between seeds" in markdown


def test_a_change_cannot_excuse_itself_by_noise_that_it_brings(history: History) -> None:
    record_noise(history, 0.1)
    worse(history, 50)
    outcome, markdown = judge()
    assert outcome is Outcome.FAIL
    assert "**The effect of another seed is not known** for data and recipe of base and head" in markdown


def test_noise_of_another_recipe_is_not_used(history: History) -> None:
    record_noise(history, 0.1)
    history.commit("measured")
    params = (history.path / "params.yaml").read_text()
    history.write("params.yaml", params.replace("epochs: 10", "epochs: 11"))
    worse(history, 50)
    outcome, markdown = judge()
    assert outcome is Outcome.FAIL
    assert "the effect of another seed is not known" in part(markdown, "### ❌ Fail")
    assert "for data and recipe of head" in markdown


def run(base: str, head: str | None = None) -> tuple[Outcome, str]:
    document, outcome = judge_revisions(base, head, "not-tried")
    return outcome, render_markdown(document)


def test_a_branch_is_held_against_where_it_began(history: History) -> None:
    history.git("branch", "theirs")
    history.write_results(range(0, 800, 10))
    history.relock()
    history.commit("main became better")
    history.commit("and went on")
    history.git("checkout", "-q", "theirs")
    history.write("README.md", "only this")
    history.commit("their own change")
    outcome, markdown = run("main", "theirs")
    assert outcome is Outcome.PASS
    assert "- 2 commits behind `main`: compared with the commit where the branch began" in markdown
    assert run("theirs~1", "main")[0] is Outcome.PASS, "an ancestor is no branch"
    assert "behind" not in run("main", "main~1")[1]


def test_a_branch_cannot_begin_where_the_rules_were_lax(history: History) -> None:
    tip = history.git("rev-parse", "main")
    history.write("metrics_policy.yaml", POLICY.replace("tolerated: 0.001", "tolerated: 0.5"))
    lax = history.commit("lax")
    history.git("checkout", "-q", "-b", "theirs")
    worse(history, 50)
    history.commit("worse")
    history.git("checkout", "-q", "main")
    history.git("checkout", tip, "--", "metrics_policy.yaml")
    history.commit("strict again")
    assert history.git("merge-base", "main", "theirs") == lax
    assert run("main", "theirs")[0] is Outcome.FAIL


def test_a_branch_cannot_choose_where_it_began(history: History) -> None:
    """After main has merged a bad commit, a branch that merges it and an older main has two merge bases."""
    start = history.git("rev-parse", "main")
    history.git("switch", "-q", "-c", "side")
    history.write_results(range(0, 3000, 10))
    history.relock()
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
    outcome, markdown = run("main", "theirs")
    assert outcome is Outcome.FAIL
    assert "the branch began more than once from `main`: compared with that revision itself" in markdown
    history.git("switch", "-q", "--orphan", "unrelated")
    history.git("checkout", "-q", start, "--", ".")
    history.commit("no history")
    outcome, markdown = run("main", "unrelated")
    assert outcome is Outcome.PASS
    assert "the branch has no commit in common with `main`: compared with that revision itself" in markdown


def test_small_losses_add_up(history: History) -> None:
    policy = POLICY.replace("tolerated: 0.001,", "tolerated: 0.001, accumulated: 0.002,", 1)
    history.git("tag", "reference")
    history.write("metrics_policy.yaml", policy + "reference: reference\n")
    history.commit("a bar")
    outcomes = []
    for step in range(1, 4):
        worse(history, 9 * step)
        history.commit(f"step {step}")
        outcomes.append(run("HEAD~1", "HEAD"))
    assert [outcome for outcome, _ in outcomes] == [Outcome.PASS, Outcome.PASS, Outcome.FAIL]
    assert "- `test_acc`: lost 0.0027 since the policy's reference `reference`; may lose 0.002" in outcomes[-1][1]


def test_a_reference_that_is_not_there_cannot_be_judged(history: History) -> None:
    policy = POLICY.replace("tolerated: 0.001,", "tolerated: 0.001, accumulated: 0.002,", 1)
    history.write("metrics_policy.yaml", policy + "reference: gone\n")
    history.commit("a bar")
    outcome, markdown = run("main")
    assert outcome is Outcome.UNKNOWN
    assert "losses since the policy's reference: <code>gone&#58; is not a revision in this clone" in markdown
    assert "name a commit of this clone as `reference` in metrics_policy.yaml" in markdown


def test_a_change_of_the_seed_alone_seldom_alarms_and_losses_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every recipe with at least five seeds; docs/review.md has the table."""
    monkeypatch.chdir(REPOSITORY)
    found = rates()
    assert {"plain", "default", "fast"} <= found.keys()
    assert max(recipe.expected for recipe in found.values()) <= 0.05
    assert found["default"].caught < 0.0025
    text = Path("docs/review.md").read_text()
    for recipe, errors in found.items():
        assert f"| {recipe} | {errors.row} |" in text, "`python -m benchmarks.gate` prints the table anew"


def test_the_bar_is_that_of_the_gate() -> None:
    accuracies = [0.9959, 0.9955, 0.9956, 0.9958, 0.9963]
    runs = [{"seed": seed, "metrics": {FILE: {"test_acc": acc}}, "wrong": []} for seed, acc in enumerate(accuracies)]
    seeds = Seeds(*[measure_noise("abc.dir", {}, "a machine", IMAGES, runs)] * 2)
    highest = bar(stdev(accuracies), 5, 0.001)
    assert highest > 0.001
    rows = weigh([lost(highest - 1e-6), lost(highest + 1e-6)], None, seeds)
    assert [row.standing for row in rows] == [Standing.EXPLAINED, Standing.BROKEN]
    assert bar(stdev(accuracies), 5, 0.01) == pytest.approx(0.01)


@pytest.mark.parametrize(("std", "seeds", "expected"), [(0.01, 3, 0.025), (0.01, 5, 0.025), (0.0003, 5, 0.006)])
def test_the_share_of_false_alarms(std: float, seeds: int, expected: float) -> None:
    """A loss is one side of Student's t; a tolerance above the spread leaves fewer alarms."""
    assert (margins(std, seeds, 0.001) < 0).mean() == pytest.approx(expected, abs=0.002)


def test_a_seed_is_not_judged_by_its_own_spread() -> None:
    assert left_out_alarms([0.99, 0.9901, 0.99, 0.9901, 0.9], 0.001) == 4
    assert left_out_alarms([0.99, 0.98, 0.99, 0.98, 0.985], 0.001) == 0
