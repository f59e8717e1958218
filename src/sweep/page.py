"""The results of a sweep as one HTML file that works offline: Optuna's figures, drawn by plotly."""

from collections.abc import Sequence

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from src.sweep.experiments import SCORE, Result
from src.sweep.spec import Spec

HEAD = """<!DOCTYPE html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
  style-src 'unsafe-inline'; img-src data: blob:">
<title>Sweep</title>
"""


def render(spec: Spec, results: Sequence[Result]) -> str:
    """Render the page.

    Args:
        spec: The sweep.
        results: Its experiments, oldest first.
    """
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate(figures(as_study(spec, results)))
    ]
    return HEAD + "".join(parts)


def figures(study: optuna.Study) -> list[go.Figure]:
    """Draw history, parallel coordinates, importances and slices, omitting those that would be empty."""
    trials = study.get_trials()
    params = [name for name in trials[0].distributions if len({trial.params[name] for trial in trials}) > 1]
    shown = [visualization.plot_optimization_history(study, target_name=SCORE)]
    if params:
        shown.append(visualization.plot_parallel_coordinate(study, params, target_name=SCORE))
        if len({trial.value for trial in trials}) > 1:
            # PED-ANOVA, Optuna's default; fANOVA takes hours if a choice, such as the seed, has a hundred values.
            shown.append(visualization.plot_param_importances(study, params=params, target_name=SCORE))
        shown.append(visualization.plot_slice(study, params, target_name=SCORE))
    return shown


def as_study(spec: Spec, results: Sequence[Result]) -> optuna.Study:
    """Convert the results to a study in memory, with the values that DVC ran."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    drawn: dict[str, BaseDistribution] = {
        name: values if isinstance(values, FloatDistribution) else CategoricalDistribution(values)
        for name, values in spec.params.items()
        if name in spec.varied
    }
    for result in results:
        params = {name: result.params[name] for name in drawn}
        study.add_trial(optuna.create_trial(params=params, distributions=drawn, value=result.score))
    return study
