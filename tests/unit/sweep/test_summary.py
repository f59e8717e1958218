import io
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import spearmanr, ttest_ind

from src.mnist.model.params import Params
from src.sweep.effects import levels, trend
from src.sweep.figure import draw
from src.sweep.page import Summary, render
from src.sweep.records import Result
from src.sweep.settings import as_good, group, seed_deviation
from src.sweep.spec import make_sweep
from src.sweep.summary import show, summarise
from tests.unit.sweep.conftest import made_up


def summary(results: list[Result], spec: dict[str, Any]) -> Summary:
    return summarise(make_sweep("s", spec), results, group(results), len(results) + 1, ["run-x: is broken"])


def test_the_best_is_chosen_by_validation_whatever_the_test_says(params: Params) -> None:
    results = [made_up(params, 0.98, test_acc=0.99, lr=0.1), made_up(params, 0.99, test_acc=0.5, lr=0.2)]
    best, other = group(results)
    assert (best.params["lr"], other.params["lr"]) == (0.2, 0.1)
    text = " ".join(summary(results, {"lr": "0.1,0.2"}).sentences)
    assert "2 of 3 runs, 2 settings." in text
    assert "Left out: run-x: is broken." in text
    assert "Best by validation: lr=0.2: final.val_acc 0.9900" in text
    assert "Its test_acc is 0.5000, which played no part" in text


def test_seeds_of_a_setting_are_averaged(params: Params) -> None:
    results = [
        made_up(params, val_acc, lr=lr, seed=seed)
        for seed, (low, high) in enumerate([(0.90, 0.93), (0.94, 0.95)])
        for lr, val_acc in ((0.1, low), (0.2, high))
    ]
    settings = group(results)
    assert [setting.score for setting in settings] == pytest.approx([0.94, 0.92])
    # Both variances are means of two: 0.0008 and 0.0002.
    assert seed_deviation(settings) == (pytest.approx((0.0005) ** 0.5), 2)


@pytest.mark.parametrize("gap", [0.001, 0.01, 0.03])
def test_a_lag_counts_if_a_t_test_says_so(params: Params, gap: float) -> None:
    scores = {0.1: [0.95, 0.96, 0.97], 0.2: [0.95 - gap, 0.955 - gap, 0.97 - gap]}
    results = [made_up(params, x, lr=lr, seed=seed) for lr, found in scores.items() for seed, x in enumerate(found)]
    significant = ttest_ind(*scores.values()).pvalue < 0.05
    assert bool(as_good(group(results))) != significant


def test_without_repeated_seeds_nothing_is_said_to_be_as_good(params: Params) -> None:
    settings = group([made_up(params, 0.9, lr=0.1), made_up(params, 0.9, lr=0.2)])
    assert seed_deviation(settings) is None
    assert as_good(settings) == []


def test_a_trend_is_spearmans(params: Params) -> None:
    generator = random.Random(0)
    pairs = [(generator.uniform(0.001, 0.1), generator.random()) for _ in range(12)]
    found = trend("lr", group([made_up(params, y, lr=x) for x, y in pairs]))
    expected = spearmanr(*zip(*pairs, strict=True))
    assert found is not None
    assert found.correlation == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)


def test_seeds_do_not_make_a_trend_look_more_certain(params: Params) -> None:
    once = [made_up(params, 0.9 + lr, lr=lr, seed=0) for lr in (0.01, 0.02, 0.04, 0.03)]
    twice = [*once, *(made_up(params, 0.9 + lr, lr=lr, seed=1) for lr in (0.01, 0.02, 0.04, 0.03))]
    assert trend("lr", group(once)) == trend("lr", group(twice))


def test_no_trend_in_equal_scores_or_few_settings(params: Params) -> None:
    found = trend("lr", group([made_up(params, 0.9, lr=lr) for lr in (0.01, 0.02, 0.03, 0.04)]))
    assert found is not None
    assert found.correlation != found.correlation
    assert trend("lr", group([made_up(params, 0.9, lr=0.01)])) is None


def test_levels_are_means_over_the_other_params(params: Params) -> None:
    results = [made_up(params, x, shift=shift, seed=seed) for shift, seed, x in [(0, 0, 0.8), (0, 1, 0.9), (2, 0, 0.7)]]
    low, high = levels("shift", results)
    assert (low.value, low.runs, low.mean, low.deviation) == (0, 2, pytest.approx(0.85), pytest.approx(0.0707107))
    assert (high.value, high.runs, high.mean, high.deviation) == (2, 1, 0.7, None)


def test_other_machines_are_mentioned(params: Params) -> None:
    results = [made_up(params, 0.9, lr=0.1), made_up(params, 0.9, lr=0.2, device="cuda")]
    assert any("2 kinds of machine" in sentence for sentence in summary(results, {"lr": "0.1,0.2"}).sentences)


def test_the_page_and_the_terminal_say_the_same_and_the_picture_is_the_same_again(
    params: Params, tmp_path: Path
) -> None:
    spec = {"lr": "tag(log, interval(0.001, 0.1))", "schedule": "constant,cosine", "seed": "0,1"}
    sweep = make_sweep("s", spec, draws=5)
    results = [made_up(run, 0.9 + run.lr * (run.schedule == "cosine") + run.seed / 1000) for run in sweep.runs(params)]
    for name in ("a.png", "b.png"):
        draw(sweep, results, group(results)[0], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    found = summary(results, spec)
    page = render("<s>", found, (tmp_path / "a.png").read_bytes())
    assert "<title>&lt;s&gt;</title>" in page
    assert not any(word in page for word in ("://", "<script", "url("))
    output = io.StringIO()
    show(found, Console(file=output, width=200))
    for word in ("Effect of lr", "rank correlation", "Effect of schedule", "cosine", "run-"):
        assert word in page
        assert word in output.getvalue()
