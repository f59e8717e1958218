"""What a change does to the stages' definitions, on which all other checks rest."""

import json
from collections.abc import Collection, Iterator, Mapping

from src.report.change import Change
from src.report.edits import is_read_by_tools
from src.report.finding import Finding, Level, Text, highest, joined, note, unsure
from src.revision.pipeline import Stage, enclosing
from src.revision.revision import Revision

# Options of an output that decide only how it is shown.
SHOWN = {"desc", "type", "labels", "meta", "template", "x", "y", "x_label", "y_label", "title", "header"}


def stages(change: Change) -> Iterator[Finding]:
    """One finding for each stage. None if the base has no stages.

    Hashes cannot tell whether a definition is right, so a reviewer has to read what may leave something unrecorded:
    all but what is merely added, or decides only how an output is shown.
    """
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    new_names = {name: _replacement(stage, old, new) for name, stage in old.items() if name not in new}
    for name in dict.fromkeys([*old, *new]) if old else ():
        if name in new_names.values():
            continue  # told with the stage that it replaces
        edits = sorted(
            _edits(old.get(name), new.get(new_names.get(name) or name), change.base), key=lambda edit: -edit.level
        )
        if new_names.get(name):
            edits = [unsure("was renamed to or replaced by {}", new_names[name]), *edits]
        if edits:
            template = "stage changed: {}: {}" if highest(edits) is Level.NOTE else "stage changed, read it: {}: {}"
            yield Finding(highest(edits), Text(template, name, joined((edit.text for edit in edits), "; ")))


def _replacement(gone: Stage, old: Mapping[str, Stage], new: Mapping[str, Stage]) -> str | None:
    """The first new stage that makes an output of a stage that is gone."""
    return next((name for name in new if name not in old and new[name].outs.keys() & gone.outs.keys()), None)


def _edits(old: Stage | None, new: Stage | None, base: Revision) -> Iterator[Finding]:
    if new is None:
        yield unsure("was removed")
        return
    if old is None:
        yield note("is new and runs {}", str(new.command))
    else:
        before, now = _items(old), _items(new)
        if lost := [item for item in before if item not in now]:
            yield unsure("no longer has {}", lost)
        if more := [item for item in now if item not in before]:
            yield note("now has {}", more)
        if shown := [path for path, out in old.outs.items() if out != new.outs.get(path, out)]:
            yield note("other options of {}", shown)
    yield from _made_instead([path for path in new.outs if old is None or path not in old.outs], base)


def _items(stage: Stage) -> list[str]:
    """What decides what a run does and what is recorded of it; two that differ are two texts."""
    outs = {
        path: {name: value for name, value in out.options.items() if name not in SHOWN}
        for path, out in stage.outs.items()
    }
    return [
        f"command {json.dumps(stage.command)}",
        f"settings {json.dumps(stage.settings)}",
        *(f"dependency {path}" for path in stage.deps),
        *(f"param {file}:{name}" for file, names in stage.params.items() for name in names or ["(all)"]),
        *(
            f"{stage.outs[path].kind} {path} {json.dumps(options) if options else ''}".strip()
            for path, options in outs.items()
        ),
    ]


def _made_instead(outs: Collection[str], base: Revision) -> Iterator[Finding]:
    """Outputs in the place of what git should have, since others run it: a source, or a file that installs packages."""
    made = base.pipeline.producers
    deps = {path for paths in base.pipeline.sources.values() for path in paths}
    found = [
        out
        for out in outs
        if enclosing(out, deps) or any(enclosing(file, made) is None for file in base.tree.files(out))
    ]
    if found:
        yield unsure("makes what was a source: {}", found)
    if unseen := list(filter(is_read_by_tools, outs)):
        yield unsure("makes what tools read: {}", unseen)
