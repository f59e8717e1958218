"""The results of a sweep as one HTML file that needs no network: Optuna's figures, drawn by plotly."""

import html
from collections.abc import Sequence

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from src.sweep.experiments import SCORE, Result
from src.sweep.spec import Spec

# With fewer results, importances say nothing.
FEWEST_FOR_IMPORTANCES = 4
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
  style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 1em auto; padding: 0 1em; }}</style>
</head>
<body>
<h1>{title}</h1>
"""


def render(title: str, spec: Spec, results: Sequence[Result], sentences: Sequence[str]) -> str:
    """The page.

    Args:
        title: Its title.
        spec: What was asked for.
        results: What was run, the oldest first.
        sentences: What is known of it.
    """
    text = "".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in sentences)
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate(figures(spec, results))
    ]
    return f"{HEAD.format(title=html.escape(title))}{text}{''.join(parts)}</body>\n</html>\n"


def figures(spec: Spec, results: Sequence[Result]) -> list[go.Figure]:
    """History, parallel coordinates, importances and slices, as far as the results have something to show."""
    seen = {name: list(dict.fromkeys(result.params[name] for result in results)) for name in spec.varied}
    study, params = as_study(spec, results), [name for name, values in seen.items() if len(values) > 1]
    shown = [visualization.plot_optimization_history(study, target_name=SCORE)]
    if params:
        shown.append(visualization.plot_parallel_coordinate(study, params, target_name=SCORE))
    if len(results) >= FEWEST_FOR_IMPORTANCES and params and len({result.score for result in results}) > 1:
        evaluator = FanovaImportanceEvaluator(seed=0)
        shown.append(visualization.plot_param_importances(study, evaluator, params, target_name=SCORE))
    if params:
        shown.append(visualization.plot_slice(study, params, target_name=SCORE))
    return shown


def as_study(spec: Spec, results: Sequence[Result]) -> optuna.Study:
    """The results as a study in memory; its values are those that DVC ran."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    drawn: dict[str, BaseDistribution] = {}
    for name in spec.varied:
        values = spec.params[name]
        drawn[name] = values if isinstance(values, FloatDistribution) else CategoricalDistribution(values)
    for result in results:
        params = {name: result.params[name] for name in drawn}
        study.add_trial(optuna.create_trial(params=params, distributions=drawn, value=result.score))
    return study
