import io
import itertools
import re
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import ttest_ind

from src.mnist.model.params import Params
from src.sweep.experiments import Result
from src.sweep.page import as_study, figures, render
from src.sweep.settings import as_good, group, seed_deviation
from src.sweep.spec import make_spec
from src.sweep.summary import describe, show
from tests.unit.sweep.conftest import made_up

SPACE = {"lr": "tag(log, interval(0.001, 0.1))", "schedule": "constant,cosine", "seed": [0, 1]}


def sentences(results: list[Result], spec: dict[str, Any]) -> list[str]:
    return describe(make_spec("s", spec), results, group(results), ["run-x: is broken"])


def test_the_best_is_chosen_by_validation_whatever_the_test_says(params: Params) -> None:
    results = [made_up(params, 0.98, test_acc=0.99, lr=0.1), made_up(params, 0.99, test_acc=0.5, lr=0.2)]
    best, other = group(results)
    assert (best.params["lr"], other.params["lr"]) == (0.2, 0.1)
    text = " ".join(sentences(results, {"lr": "0.1,0.2"}))
    assert "2 experiments, 2 settings." in text
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


def test_other_machines_are_mentioned(params: Params) -> None:
    results = [made_up(params, 0.9, lr=0.1), made_up(params, 0.9, lr=0.2, device="cuda")]
    assert any("2 kinds of machine" in sentence for sentence in sentences(results, {"lr": "0.1,0.2"}))


@pytest.fixture
def drawn(params: Params) -> list[Result]:
    """Results of a sweep with an interval, choices and seeds."""
    settings = itertools.product((0.001, 0.004, 0.02), ("constant", "cosine"), (0, 1))
    return [
        made_up(params, 0.9 + lr * (schedule == "cosine") + seed / 1000, lr=lr, schedule=schedule, seed=seed)
        for lr, schedule, seed in settings
    ]


def test_the_page_has_optunas_figures_of_what_dvc_ran_and_loads_nothing(drawn: list[Result]) -> None:
    spec = make_spec("<s>", SPACE, "tpe", 12)
    assert [len(figure.data) > 0 for figure in figures(spec, drawn)] == [True] * 4
    study = as_study(spec, drawn)
    assert [trial.params["lr"] for trial in study.trials][:5] == [0.001] * 4 + [0.004]
    assert study.best_value == pytest.approx(0.921)
    page = render(spec, drawn, ["<b>5 of 6"])
    assert "<title>&lt;s&gt;</title>" in page
    assert "&lt;b&gt;5 of 6" in page
    assert page.count('class="plotly-graph-div"') == 4
    assert "default-src 'none'" in page
    assert not re.search(r"<script[^>]+src=|<link", page)


def test_one_result_is_enough_for_a_page(drawn: list[Result]) -> None:
    assert len(figures(make_spec("s", SPACE, "tpe", 12), drawn[:1])) == 1


def test_the_terminal_shows_the_best_and_what_is_as_good(drawn: list[Result]) -> None:
    spec, settings, output = make_spec("s", SPACE, "tpe", 12), group(drawn), io.StringIO()
    show(spec, settings, describe(spec, drawn, settings), Console(file=output, width=60))
    text = output.getvalue()
    assert "12 experiments, 6 settings." in text
    assert "Best by validation: lr=0.02, schedule=cosine: final.val_acc 0.9205, mean of 2 seeds" in text
    assert "as far as the seeds can tell, 0 of the other 5 settings are as good as the best" in text
