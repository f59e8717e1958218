"""Whether the code that decides what is measured changed."""

import posixpath
from collections.abc import Iterator

from src.report.change import Change
from src.report.finding import Finding, unsure
from src.report.pins import is_of_pins
from src.report.policy import POLICY
from src.revision.pipeline import Pipeline, enclosing


def scorer(change: Change) -> Iterator[Finding]:
    """Edits of the scorer, as the base defines it. If it differs, equal numbers need not mean the same."""
    if not change.base.has_results:
        return
    if change.policy.scorer is not None:
        wanted = dict.fromkeys(change.policy.scorer, True)
        if absent := [path for path in wanted if not change.base.tree.files(path)]:
            yield unsure("{} names a scorer that {} does not have: {}", POLICY, change.base.name, absent)
        first: set[str] = set()
    else:
        scoring = {stage for stage in change.scoring.values() if stage}
        wanted = _implied_scorer(change.base.pipeline, scoring)
        first = _first_searched(change.base.pipeline, scoring)
    # What is installed has a check of its own.
    changed = [
        path
        for path in change.edited
        if wanted.get(enclosing(path, wanted) or "", _folder_of_module(path) in first) and not is_of_pins(path)
    ]
    if changed:
        yield unsure("the scorer changed, read its diff: {}", changed)


def _implied_scorer(pipeline: Pipeline, scoring: set[str]) -> dict[str, bool]:
    """Files and folders of the scorer, and within them those that are not.

    The scorer is the code that the scoring stages depend on. A stage before them that depends on all of it, too, checks
    the whole pipeline; what it depends on besides, and no other stage does, runs the stages.
    """
    made = pipeline.producers
    code = {
        name: dict.fromkeys(path for path in stage.deps if enclosing(path, made) is None)
        for name, stage in pipeline.stages.items()
    }
    own = {path for stage in scoring & code.keys() for path in code[stage]}
    before = pipeline.before(scoring) - scoring
    checking = {stage for stage in before if all(enclosing(path, code[stage]) for path in own)}
    others = {path for stage in before - checking for path in code[stage]} - own
    return dict.fromkeys([*own, *(path for stage in checking for path in code[stage])], True) | dict.fromkeys(
        others, False
    )


def _first_searched(pipeline: Pipeline, scoring: set[str]) -> set[str]:
    """Where Python looks for modules first: a script's folder, or with -m the project's; none with -I or -P."""
    found = set()
    for stage in (pipeline.stages[name] for name in scoring & pipeline.stages.keys()):
        words = " ".join([stage.command] if isinstance(stage.command, str) else stage.command).split()
        if not {"-I", "-P"} & {*words}:
            scripts = {path for path in stage.deps if path.endswith(".py")}
            named = scripts & {*map(posixpath.normpath, words)}
            # Where neither is named, a shell or another folder's Python starts one of them.
            started = {""} | named if "-m" in words else named or scripts
            found |= {posixpath.dirname(path) for path in started}
    return found


def _folder_of_module(path: str) -> str | None:
    stem, ending = posixpath.splitext(path)
    return posixpath.dirname(stem.removesuffix("/__init__")) if ending in (".py", ".pyc", ".so") else None
