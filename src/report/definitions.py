"""What a change does to the stages' definitions, on which all other checks rest."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from src.report.document import Data, Message, Paragraph, Section, Sentence, cut, listed
from src.report.revision import Revision
from src.report.verdict import Outcome, Reason
from src.revision.pipeline import Out, Stage

MAX_SHOWN = 40
MAX_NAMED = 3  # changes of one stage in the verdict, and names in each
# Options of an output that decide only how it is shown.
SHOWN = {"desc", "type", "labels", "meta", "template", "x", "y", "x_label", "y_label", "title", "header"}


@dataclass(frozen=True)
class Change:
    """One change of a definition.

    Attributes:
        subject: The stage or file.
        text: What changed, after the subject.
        loosens: Whether something may no longer be recorded or checked, which hashes cannot show.
        items: What the text is about, to be listed after it.
    """

    subject: str
    text: Sentence
    loosens: bool
    items: Sequence[str] = ()

    def sentence(self, most: int) -> Sentence:
        """The text, and at most so many of the items."""
        return [*self.text, *listed(self.items, most)]


def compare_definitions(base: Revision, head: Revision) -> list[Change]:
    """Changes of dvc.yaml and of the other files in `Revision.rules`; none if the base has no stages."""
    old, new = base.pipeline.stages, head.pipeline.stages
    if not old:
        return []
    sources = _Sources.of(base)
    changes = [Change(name, ["was removed"], True) for name in old if name not in new]
    changes += [change for name in new if name not in old for change in _new_stage(name, new[name], sources)]
    changes += [change for name in old if name in new for change in _stage_changes(name, old[name], new[name], sources)]
    changed = [path for path in {**base.rules, **head.rules} if base.rules.get(path) != head.rules.get(path)]
    return [*changes, *(Change(path, [_became(path, base, head)], True) for path in changed)]


def definition_reasons(changes: list[Change]) -> list[Reason]:
    """One reason for each stage or file: a reviewer has to read what loosens a definition."""
    return [
        _reason(subject, [change for change in changes if change.subject == subject])
        for subject in dict.fromkeys(change.subject for change in changes)
    ]


def definition_section(changes: list[Change]) -> Section:
    """The changes as a part of the report."""
    sentences: list[Sentence] = [[Data(change.subject), ": ", *change.sentence(MAX_SHOWN)] for change in changes]
    return Section("Stage definitions", [cut(sentences, MAX_SHOWN) if changes else Paragraph(["No stage changed."])])


def _reason(subject: str, changes: list[Change]) -> Reason:
    loosening = [change for change in changes if change.loosens]
    named = [*loosening, *(change for change in changes if not change.loosens)]
    words = [part for change in named[:MAX_NAMED] for part in ("; ", *change.sentence(MAX_NAMED))][1:]
    left_out = len(named) - MAX_NAMED
    more = f" and {left_out} more change{'s' if left_out > 1 else ''}" if left_out > 0 else ""
    # Hashes cannot tell whether a definition is right.
    kind = "definition changed, read it: " if loosening else "definition changed: "
    return Reason(Outcome.UNKNOWN if loosening else Outcome.PASS, [kind, Data(subject), ": ", *words, more])


def _new_stage(name: str, stage: Stage, sources: "_Sources") -> Iterator[Change]:
    yield Change(name, ["is new and runs ", Message(stage.command)], False)
    yield from _made_sources(name, stage.outs, sources)


def _stage_changes(name: str, old: Stage, new: Stage, sources: "_Sources") -> Iterator[Change]:
    if old.command != new.command:
        yield Change(name, ["its command is now ", Message(new.command)], True)
    if old.settings != new.settings:
        yield Change(name, ["its settings changed: ", Data({**old.settings, **new.settings})], True)
    yield from _differences(name, "dependency", old.deps, new.deps)
    yield from _differences(name, "param", _params(old), _params(new))
    yield from _differences(name, "output", list(old.outs), list(new.outs))
    yield from _made_sources(name, [path for path in new.outs if path not in old.outs], sources)
    for path in old.outs:
        if path in new.outs and old.outs[path] != new.outs[path]:
            loosens = _decisive(old.outs[path]) != _decisive(new.outs[path])
            yield Change(name, ["output ", Data(path), " has other options"], loosens)


def _differences(name: str, what: str, old: list[str], new: list[str]) -> Iterator[Change]:
    if removed := [item for item in old if item not in new]:
        yield Change(name, [f"{what} removed: "], True, removed)
    if added := [item for item in new if item not in old]:
        yield Change(name, [f"{what} new: "], False, added)


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
        files = [file for file in base.files if not any(part in made for part in _up(file))]
        deps = {path for stage in base.pipeline.stages.values() for path in stage.deps if path not in made}
        return cls(frozenset(part for file in files for part in _up(file)), frozenset(deps))


def _made_sources(name: str, outs: Iterable[str], sources: _Sources) -> Iterator[Change]:
    """Outputs that take the place of a source: git would no longer have what other stages run."""
    made = [path for path in outs if path in sources.held or any(part in sources.deps for part in _up(path))]
    if made:
        yield Change(name, ["makes what was a source: "], True, made)


def _up(path: str) -> Iterator[str]:
    """The path, and every folder that it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _decisive(out: Out) -> dict[str, object]:
    return {"kind": out.kind, **{name: value for name, value in out.options.items() if name not in SHOWN}}


def _params(stage: Stage) -> list[str]:
    return [
        f"{file}:{name}" for file, names in stage.params.items() for name in (["(all)"] if names is None else names)
    ]


def _became(path: str, base: Revision, head: Revision) -> str:
    if path not in base.rules:
        return "is new"
    return "was removed" if path not in head.rules else "changed"
