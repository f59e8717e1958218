"""Changes of the stages' definitions, on which all other checks rely."""

from collections.abc import Iterator
from typing import Any

from src.report.change import Change
from src.report.finding import Finding, unsure
from src.revision.pipeline import Stage

# Options of an output that only affect how it is shown.
SHOWN = {"desc", "type", "labels", "meta", "template", "x", "y", "x_label", "y_label", "title", "header"}


def stages(change: Change) -> Iterator[Finding]:
    """One finding for each stage whose definition changed; none if the base has no stages.

    Hashes cannot show whether a definition is correct, so a reviewer has to read it.
    """
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    for name in dict.fromkeys([*old, *new]) if old else ():
        before, now = (_definition(found[name]) if name in found else {} for found in (old, new))
        if changed := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
            yield unsure("stage changed, read it: {}: {}", name, changed)


def _definition(stage: Stage) -> dict[str, Any]:
    """Everything that determines what a run does and what is recorded, by the keys of dvc.yaml."""
    outs = {
        path: (out.kind, {name: value for name, value in out.options.items() if name not in SHOWN})
        for path, out in stage.outs.items()
    }
    settings = stage.model_dump(include={"frozen", "always_changed"}, exclude_unset=True)
    params = {file: names and {*names} for file, names in stage.params.items()}
    return {"cmd": stage.command, "deps": {*stage.deps}, "params": params, "outs": outs, **settings}
