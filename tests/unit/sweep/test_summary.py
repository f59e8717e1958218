import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console
from scipy.stats import ttest_ind

from src.mnist.model.params import Params
from src.sweep.experiments import Result
from src.sweep.page import as_study, figures, render
from src.sweep.spec import Spec
from src.sweep.summary import group, show
from tests.unit.sweep.conftest import made_up

SPEC = Spec(
    sampler="tpe",
    trials=12,
    params={"lr": "tag(log, interval(0.001, 0.1))", "schedule": "constant,cosine", "seed": [0, 1]},
)


def shown(results: Sequence[Result], compared: Sequence[str], problems: Sequence[str] = ()) -> str:
    output = io.StringIO()
    show(results, compared, Console(file=output, width=80), problems)
    return output.getvalue()


def test_best_setting_is_chosen_by_validation_score(params: Params) -> None:
    results = [made_up(params, 0.98, test_acc=0.99, lr=0.1), made_up(params, 0.99, test_acc=0.5, lr=0.2, device="gpu")]
    settings = group(results, ["lr"])
    assert list(settings["lr"]) == ["0.2", "0.1"]
    # Without repeated seeds, noise is unknown.
    assert list(settings["good"]) == [True, False]
    text = shown(results, ["lr"], ["run-x: is broken"])
    assert "2 experiments, 2 settings.\nLeft out: run-x: is broken." in text
    assert "Best by validation: lr=0.2: final.val_acc 0.9900" in text
    assert "Its test_acc is 0.5000, which played no part" in text
    assert "it is not known how much of a difference is chance" in text
    assert "2 kinds of machine" in text


def test_tied_settings_are_as_good_and_rows_fit_80_columns(params: Params) -> None:
    results = [
        replace(
            made_up(params, score, label_smoothing=number / 1000, lr=number / 1000, weight_decay=number / 1000),
            name=f"run-0379984c6f7{number}",
        )
        for number, score in enumerate((0.95, 0.95, 0.9499), start=1)
    ]
    table, _, _ = shown(results, ["label_smoothing", "lr", "weight_decay"]).partition("3 experiments")
    rows = re.findall(
        r"^ label_smoothing=0\.00(\d), .* 0\.9\d+ +- +(best|yes|) +run-0379984c6f7(\d)", table, re.MULTILINE
    )
    assert rows == [("1", "best", "1"), ("2", "yes", "2"), ("3", "", "3")]
    assert table.split()[:7] == ["setting", "seeds", "final.val_acc", "std", "as", "good", "experiment"]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert table.count("lr=0.002,") == table.count("weight_decay=0.002") == 1


def test_scores_are_averaged_over_seeds(params: Params) -> None:
    results = [
        made_up(params, val_acc, lr=lr, seed=seed)
        for seed, (low, high) in enumerate([(0.90, 0.93), (0.94, 0.95)])
        for lr, val_acc in ((0.1, low), (0.2, high))
    ]
    settings = group(results, ["lr"])
    assert list(settings["score"]) == pytest.approx([0.94, 0.92])
    # The mean of the variances 0.0008 and 0.0002.
    assert settings.attrs == {"noise": pytest.approx(math.sqrt(0.0005)), "df": 2}
    text = shown(results, ["lr"])
    assert "4 experiments, 2 settings." in text
    assert "Best by validation: lr=0.2: final.val_acc 0.9400, mean of 2 seeds" in text
    assert "as far as the seeds can tell, as good as the best: 1 of 1 others" in text


@pytest.mark.parametrize("gap", [0.001, 0.01, 0.03])
def test_settings_differ_if_a_t_test_is_significant(params: Params, gap: float) -> None:
    scores = {0.1: [0.95, 0.96, 0.97], 0.2: [0.95 - gap, 0.955 - gap, 0.97 - gap]}
    results = [made_up(params, x, lr=lr, seed=seed) for lr, found in scores.items() for seed, x in enumerate(found)]
    significant = ttest_ind(*scores.values()).pvalue < 0.05
    assert group(results, ["lr"])["good"][1] != significant


def test_page_has_optuna_figures_and_loads_no_resources(params: Params) -> None:
    settings = itertools.product((0.001, 0.004, 0.02), ("constant", "cosine"), (0, 1))
    drawn = [
        made_up(params, 0.9 + lr * (schedule == "cosine") + seed / 1000, lr=lr, schedule=schedule, seed=seed)
        for lr, schedule, seed in settings
    ]
    study = as_study(SPEC, drawn)
    assert [trial.params["lr"] for trial in study.trials][:5] == [0.001] * 4 + [0.004]
    assert study.best_value == pytest.approx(0.921)
    page = render(SPEC, drawn)
    assert page.count('class="plotly-graph-div"') == 4
    assert "default-src 'none'" in page
    assert not re.search(r"<script[^>]+src=|<link", page)
    # One result is enough for a page; importances need two.
    assert [len(figures(as_study(SPEC, drawn[:count]))) for count in (1, 2)] == [1, 4]
    # With fANOVA, a hundred seeds would take hours.
    hundred = [made_up(params, 0.9 + seed / 1000, seed=seed) for seed in range(100)]
    assert len(figures(as_study(Spec(params={"seed": list(range(100))}), hundred))) == 4
