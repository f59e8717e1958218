"""What a change does to the stages' definitions, on which all other checks rest."""

from collections.abc import Collection, Iterator

from src.report.change import Change
from src.report.edits import decides_more
from src.report.finding import Finding, Level, Text, highest, joined, note, unsure
from src.revision.pipeline import Out, Stage, enclosing
from src.revision.revision import Revision

# Options of an output that decide only how it is shown.
SHOWN = {"desc", "type", "labels", "meta", "template", "x", "y", "x_label", "y_label", "title", "header"}


def stages(change: Change) -> Iterator[Finding]:
    """One finding for each stage. None if the base has no stages.

    Hashes cannot tell whether a definition is right, so a reviewer has to read what may leave something unrecorded.
    """
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    for name in dict.fromkeys([*old, *new]) if old else ():
        edits = sorted(_edits(old.get(name), new.get(name), change.base), key=lambda edit: -edit.level)
        if edits:
            template = "stage changed: {}: {}" if highest(edits) is Level.NOTE else "stage changed, read it: {}: {}"
            yield Finding(highest(edits), Text(template, name, joined((edit.text for edit in edits), "; ")))


def _edits(old: Stage | None, new: Stage | None, base: Revision) -> Iterator[Finding]:
    if new is None:
        yield unsure("was removed")
    elif old is None:
        yield note("is new and runs {}", _command(new))
        yield from _made_instead(new.outs, base)
    else:
        yield from _changes(old, new, base)


def _changes(old: Stage, new: Stage, base: Revision) -> Iterator[Finding]:
    if old.command != new.command:
        yield unsure("its command is now {}", _command(new))
    if old.settings != new.settings:
        yield unsure("its settings changed: {}", str({**old.settings, **new.settings}))
    for what, before, after in (
        ("dependency", old.deps, new.deps),
        ("param", _params(old), _params(new)),
        ("output", list(old.outs), list(new.outs)),
    ):
        if removed := [item for item in before if item not in after]:
            yield unsure(f"{what} removed: {{}}", removed)
        if added := [item for item in after if item not in before]:
            yield note(f"{what} new: {{}}", added)
    yield from _made_instead([path for path in new.outs if path not in old.outs], base)
    for path, out in old.outs.items():
        if new.outs.get(path, out) != out:
            edit = note if _decisive(new.outs[path]) == _decisive(out) else unsure
            yield edit("output {} has other options", path)


def _made_instead(outs: Collection[str], base: Revision) -> Iterator[Finding]:
    """Outputs in the place of what git should have, since others run it: a source, or a file that installs packages."""
    made = base.pipeline.producers
    deps = {path: None for stage in base.pipeline.stages.values() for path in stage.deps if path not in made}
    found = [
        out
        for out in outs
        if enclosing(out, deps) or any(enclosing(file, made) is None for file in base.tree.files(out))
    ]
    if found:
        yield unsure("makes what was a source: {}", found)
    if unseen := list(filter(decides_more, outs)):
        yield unsure("makes what may hide a change, or what installs packages or runs the checks: {}", unseen)


def _decisive(out: Out) -> dict[str, object]:
    return {"kind": out.kind, **{name: value for name, value in out.options.items() if name not in SHOWN}}


def _params(stage: Stage) -> list[str]:
    return [
        f"{file}:{name}" for file, names in stage.params.items() for name in (["(all)"] if names is None else names)
    ]


def _command(stage: Stage) -> str:
    return stage.command if isinstance(stage.command, str) else " && ".join(stage.command)
