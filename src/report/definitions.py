"""What a change does to the stages' definitions, on which all other checks rest."""

import json
from collections.abc import Iterator

from src.report.change import Change
from src.report.finding import Finding, Text, joined, note, unsure
from src.revision.pipeline import Stage

# Options of an output that decide only how it is shown.
SHOWN = {"desc", "template", "x", "y", "x_label", "y_label", "title", "header"}
HARMLESS = ("dependency ", "param ")  # where they are added


def stages(change: Change) -> Iterator[Finding]:
    """One finding for each stage. None if the base has no stages.

    Hashes cannot tell whether a definition is right, so a reviewer has to read what is more than another dependency or
    param, or other options that decide only how an output is shown.
    """
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    for name in dict.fromkeys([*old, *new]) if old else ():
        before, now = (_items(found.get(name)) for found in (old, new))
        lost, more = [item for item in before if item not in now], [item for item in now if item not in before]
        if lost or not all(item.startswith(HARMLESS) for item in more):
            edits = [("no longer has", lost), ("now has", more)]
            words = joined((Text(f"{verb} {{}}", items) for verb, items in edits if items), "; ")
            yield unsure("stage changed, read it: {}: {}", name, words)
        elif more:
            yield note("stage changed: {}: now has {}", name, more)
        elif old[name].outs != new[name].outs:
            yield note("stage changed: {}: other options of how its outputs are shown", name)


def _items(stage: Stage | None) -> list[str]:
    """What decides what a run does and what is recorded of it; two that differ are two texts."""
    if stage is None:
        return []
    options = {
        path: {name: value for name, value in out.options.items() if name not in SHOWN}
        for path, out in stage.outs.items()
    }
    return [
        f"command {json.dumps(stage.command)}",
        f"settings {json.dumps(stage.settings)}",
        *(f"dependency {path}" for path in stage.deps),
        *(f"param {file}:{name}" for file, names in stage.params.items() for name in names or ["(all)"]),
        *(
            f"{out.kind} {path} {json.dumps(options[path]) if options[path] else ''}".strip()
            for path, out in stage.outs.items()
        ),
    ]
