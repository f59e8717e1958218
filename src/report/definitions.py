"""What a change does to the stages' definitions, on which all other checks rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from src.report.document import Data, Message, Paragraph, Section, Sentence, cut
from src.report.pipeline import Stage
from src.report.revision import Revision
from src.report.verdict import Outcome, Reason

MOST_SHOWN = 40


@dataclass(frozen=True)
class Change:
    """One change of a definition.

    Attributes:
        subject: The stage or file.
        text: What changed, after the subject.
        loosens: Whether something may no longer be recorded or checked, which hashes cannot show.
    """

    subject: str
    text: Sentence
    loosens: bool


def compare_definitions(base: Revision, head: Revision) -> list[Change]:
    """Changes of dvc.yaml, and of the files that tell DVC or git what a path holds; none if the base has no stages."""
    old, new = base.pipeline.stages, head.pipeline.stages
    if not old:
        return []
    changes = [Change(name, ["was removed"], True) for name in old if name not in new]
    changes += [Change(name, ["is new"], False) for name in new if name not in old]
    changes += [change for name in old if name in new for change in _stage_changes(name, old[name], new[name])]
    changed = [path for path in {**base.rules, **head.rules} if base.rules.get(path) != head.rules.get(path)]
    return [*changes, *(Change(path, [_became(path, base, head)], True) for path in changed)]


def definition_reasons(changes: list[Change]) -> list[Reason]:
    """The changes as reasons: somebody has to read what loosens a definition."""
    return [
        Reason(
            Outcome.UNKNOWN if change.loosens else Outcome.PASS,
            [
                "definition changed: ",
                *_sentence(change),
                "; read it, hashes cannot tell whether it is right" if change.loosens else "",
            ],
        )
        for change in changes
    ]


def definition_section(changes: list[Change]) -> Section:
    """The changes as a part of the report."""
    return Section(
        "Stage definitions",
        [cut([_sentence(change) for change in changes], MOST_SHOWN) if changes else Paragraph(["No stage changed."])],
    )


def _stage_changes(name: str, old: Stage, new: Stage) -> Iterator[Change]:
    if old.command != new.command:
        yield Change(name, ["its command is now ", Message(new.command)], True)
    if old.settings != new.settings:
        yield Change(name, ["its settings changed: ", Data({**old.settings, **new.settings})], True)
    for what, before, after in (
        ("dependency", old.deps, new.deps),
        ("param", _params(old), _params(new)),
        ("output", list(old.outs), list(new.outs)),
    ):
        yield from _differences(name, what, before, after)
    for path in old.outs:
        if path in new.outs and old.outs[path] != new.outs[path]:
            moved = (old.outs[path].kind, old.outs[path].cached) != (new.outs[path].kind, new.outs[path].cached)
            yield Change(name, ["output ", Data(path), " has other options"], moved)


def _differences(name: str, what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[Change]:
    before, after = list(old), list(new)
    yield from (Change(name, [f"{what} ", Data(item), " was removed"], True) for item in before if item not in after)
    yield from (Change(name, [f"{what} ", Data(item), " is new"], False) for item in after if item not in before)


def _params(stage: Stage) -> list[str]:
    return [
        f"{file}:{name}" for file, names in stage.params.items() for name in (["(all)"] if names is None else names)
    ]


def _became(path: str, base: Revision, head: Revision) -> str:
    if path not in base.rules:
        return "is new"
    return "was removed" if path not in head.rules else "changed"


def _sentence(change: Change) -> Sentence:
    return [Data(change.subject), ": ", *change.text]
