"""Edited files of which no hash tells what they do to the results."""

import re
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from src.noise.measurement import NOISE
from src.report.change import Change
from src.report.finding import Finding, Text, joined, note, unsure
from src.report.pins import is_of_pins, named, other_versions
from src.report.policy import POLICY
from src.revision.pipeline import DVC_FILE, LOCK, Pipeline, enclosing
from src.revision.tree import is_elsewhere

# What decides which files git and DVC find, also within a folder that a stage depends on.
HIDING = re.compile(r"(^|/)\.(?!gitignore$)|\.dvc$|/dvc\.(yaml|lock)$")
DOCUMENTS = ("*.md", "*.rst", "*.cff", "README*", "LICEN[CS]E*", ".gitignore")


def files(change: Change) -> Iterator[Finding]:
    """Edits of what no stage depends on, but somebody may read. Of packages, other versions alone are only noted."""
    base, head = change.base, change.head
    if not base.pipeline.stages:
        return
    installed = named(base) | named(head)
    known = {DVC_FILE, LOCK, POLICY, NOISE, *base.pipeline.metrics, *base.pipeline.params, *base.pipeline.declared}
    bumped: dict[Text, None] = {}
    uncovered = []
    for path in change.edited:
        if is_of_pins(path):
            versions = other_versions(base, head, path)
            if versions is None:
                yield unsure("what is installed changed, read it: {}", path)
            bumped |= dict.fromkeys(versions or ())
        elif not installed.isdisjoint(path.split("/")):
            uncovered.append(path)
        elif enclosing(path, known):
            # What DVC ignores, such as bytecode, is in no hash.
            uncovered += [path] if base.tree.ignored.match_file(path) or HIDING.search(path) else []
        elif not (is_elsewhere(path) or _is_unread(path, change)):
            uncovered.append(path)
    if uncovered:
        yield unsure("{} changed, which no stage of the base depends on: read the diff", uncovered)
    if bumped:
        yield note("other versions are installed: {}", joined(bumped, ", "))


def scorer(change: Change) -> Iterator[Finding]:
    """Edits of the scorer, as the base defines it. If it differs, equal numbers need not mean the same."""
    if not change.base.has_results:
        return
    scoring = {stage for stage in change.scoring.values() if stage}
    # What is installed has a check of its own.
    if changed := _of_scorer(change.base.pipeline, scoring, [path for path in change.edited if not is_of_pins(path)]):
        yield unsure("the scorer changed, read its diff: {}", changed)


def _is_unread(path: str, change: Change) -> bool:
    """Whether it is a document, or the base's policy says that nobody reads it who decides about results."""
    unread = change.policy.unread if change.has_own_policy else []
    name = PurePosixPath(path).name
    return any(fnmatchcase(name, pattern) for pattern in DOCUMENTS) or any(fnmatchcase(path, one) for one in unread)


def _of_scorer(pipeline: Pipeline, scoring: Collection[str], paths: Sequence[str]) -> list[str]:
    """Those paths that the scoring stages depend on, or that only a stage which checks the whole pipeline depends on.

    Such a stage comes before the scoring ones and depends on all their code. What it alone reads runs the stages.
    """
    code = pipeline.sources
    own = {path for stage in scoring if stage in code for path in code[stage]}
    before = pipeline.before(scoring)
    others = {stage for stage in before if not all(enclosing(path, code[stage]) for path in own)}
    found = []
    for path in paths:
        readers = {stage for stage in {*before, *scoring} & code.keys() if enclosing(path, code[stage])}
        if not readers.isdisjoint(scoring) or (readers and readers.isdisjoint(others)):
            found.append(path)
    return found
