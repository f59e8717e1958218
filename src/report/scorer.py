"""Whether the code that decides what is measured changed."""

import posixpath
from collections.abc import Iterator, Sequence

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
        wanted = change.policy.scorer
        if absent := [path for path in wanted if not change.base.tree.files(path)]:
            yield unsure("{} names a scorer that {} does not have: {}", POLICY, change.base.name, absent)
        changed = [path for path in change.edited if enclosing(path, wanted)]
    else:
        scoring = {stage for stage in change.scoring.values() if stage}
        changed = _implied_scorer(change.base.pipeline, scoring, change.edited)
    # What is installed has a check of its own.
    if changed := [path for path in changed if not is_of_pins(path)]:
        yield unsure("the scorer changed, read its diff: {}", changed)


def _implied_scorer(pipeline: Pipeline, scoring: set[str], paths: Sequence[str]) -> list[str]:
    """Those paths that the scoring stages depend on, or that only a stage which checks the whole pipeline depends on.

    Such a stage comes before the scoring ones and depends on all their code. What it alone reads runs the stages. Where
    Python looks first for modules of a scoring stage, every module counts that no other stage before it depends on.
    """
    code = pipeline.sources
    before = pipeline.before(scoring) - scoring
    own = {path for stage in scoring & code.keys() for path in code[stage]}
    checking = {stage for stage in before if all(enclosing(path, code[stage]) for path in own)}
    searched = _first_searched(pipeline, scoring)
    found = []
    for path in paths:
        readers = {stage for stage in (before | scoring) & code.keys() if enclosing(path, code[stage])}
        if readers & scoring or (readers <= checking if readers else _folder_of_module(path) in searched):
            found.append(path)
    return found


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
