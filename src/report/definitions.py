"""What a change does to the stages' definitions, on which all other checks rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from src.report.change import Change
from src.report.finding import Finding, Level, Text, joined
from src.revision.pipeline import Out, Stage, upwards
from src.revision.revision import Revision
from src.revision.tree import IGNORE

# Options of an output that decide only how it is shown.
SHOWN = {"desc", "type", "labels", "meta", "template", "x", "y", "x_label", "y_label", "title", "header"}
DVC_FOLDER, DVC_TEMPLATES = ".dvc/", ".dvc/plots/"


@dataclass(frozen=True)
class Edit:
    """One change of a definition.

    Attributes:
        text: What changed.
        loosens: Whether something may no longer be recorded or checked, which hashes cannot show.
    """

    text: Text
    loosens: bool = False


def stages(change: Change) -> Iterator[Finding]:
    """One finding for each stage: a reviewer has to read what loosens a definition. None if the base has no stages."""
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    if not old:
        return
    sources = _Sources.of(change.base)
    for name in dict.fromkeys([*old, *new]):
        edits = list(_edits(old.get(name), new.get(name), sources))
        if edits:
            # Hashes cannot tell whether a definition is right.
            loosens = any(edit.loosens for edit in edits)
            template = "stage changed, read it: {}: {}" if loosens else "stage changed: {}: {}"
            texts = [edit.text for edit in sorted(edits, key=lambda edit: not edit.loosens)]
            yield Finding(Level.UNSURE if loosens else Level.NOTE, Text(template, name, joined(texts, "; ")))


def files(change: Change) -> Iterator[Finding]:
    """Files that decide what DVC or git finds at a path; a change of one may hide another change."""
    if not change.base.pipeline.stages:
        return
    old, new = (_deciding(revision) for revision in (change.base, change.head))
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            became = "is new" if path not in old else "was removed" if path not in new else "changed"
            yield Finding(Level.UNSURE, Text(f"{{}} {became}, which may hide another change: read it", path))


def _edits(old: Stage | None, new: Stage | None, sources: "_Sources") -> Iterator[Edit]:
    if new is None:
        yield Edit(Text("was removed"), True)
    elif old is None:
        yield Edit(Text("is new and runs {}", _command(new)))
        yield from _made_sources(new.outs, sources)
    else:
        yield from _changes(old, new, sources)


def _changes(old: Stage, new: Stage, sources: "_Sources") -> Iterator[Edit]:
    if old.command != new.command:
        yield Edit(Text("its command is now {}", _command(new)), True)
    if old.settings != new.settings:
        yield Edit(Text("its settings changed: {}", str({**old.settings, **new.settings})), True)
    yield from _differences("dependency", old.deps, new.deps)
    yield from _differences("param", _params(old), _params(new))
    yield from _differences("output", list(old.outs), list(new.outs))
    yield from _made_sources([path for path in new.outs if path not in old.outs], sources)
    for path in old.outs:
        if path in new.outs and old.outs[path] != new.outs[path]:
            loosens = _decisive(old.outs[path]) != _decisive(new.outs[path])
            yield Edit(Text("output {} has other options", path), loosens)


def _differences(what: str, old: list[str], new: list[str]) -> Iterator[Edit]:
    if removed := [item for item in old if item not in new]:
        yield Edit(Text(f"{what} removed: {{}}", removed), True)
    if added := [item for item in new if item not in old]:
        yield Edit(Text(f"{what} new: {{}}", added))


@dataclass(frozen=True)
class _Sources:
    """What the base has in git and no stage of it makes.

    Attributes:
        held: Files, and the folders that hold one.
        deps: Dependencies of stages.
    """

    held: frozenset[str]
    deps: frozenset[str]

    @classmethod
    def of(cls, base: Revision) -> "_Sources":
        made = base.pipeline.producers
        files = [file for file in base.tree.entries if not any(part in made for part in upwards(file))]
        deps = {path for stage in base.pipeline.stages.values() for path in stage.deps if path not in made}
        return cls(frozenset(part for file in files for part in upwards(file)), frozenset(deps))


def _made_sources(outs: Iterable[str], sources: _Sources) -> Iterator[Edit]:
    """Outputs that take the place of a source: git would no longer have what other stages run."""
    made = [path for path in outs if path in sources.held or any(part in sources.deps for part in upwards(path))]
    if made:
        yield Edit(Text("makes what was a source: {}", made), True)


def _decisive(out: Out) -> dict[str, object]:
    return {"kind": out.kind, **{name: value for name, value in out.options.items() if name not in SHOWN}}


def _params(stage: Stage) -> list[str]:
    return [
        f"{file}:{name}" for file, names in stage.params.items() for name in (["(all)"] if names is None else names)
    ]


def _command(stage: Stage) -> str:
    return stage.command if isinstance(stage.command, str) else " && ".join(stage.command)


def _deciding(revision: Revision) -> dict[str, object]:
    found: dict[str, object] = {}
    for path, entry in revision.tree.entries.items():
        name = PurePosixPath(path).name
        nested = name in ("dvc.yaml", "dvc.lock", IGNORE) and path != name
        # DVC's settings, and objects of its cache, which it may trust.
        own = path.startswith(DVC_FOLDER) and not path.startswith(DVC_TEMPLATES)
        if name in (IGNORE, ".gitattributes") or name.endswith(".dvc") or nested or own:
            found[path] = entry
    return found
