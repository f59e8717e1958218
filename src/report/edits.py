"""Edits whose effect on the results no hash covers: of files, the scorer and the stages' definitions."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from src.core.values import same
from src.noise.measurement import NOISE
from src.report.change import Change
from src.report.finding import Finding, Text, note, unsure
from src.report.pins import Bump, is_of_pins, other_versions
from src.report.policy import POLICY
from src.revision.parsing import leaves
from src.revision.pipeline import DVC_FILE, LOCK, Stage, enclosing

# Files that determine which files git and DVC find, even within a folder that a stage depends on.
HIDING = re.compile(r"(^|/)\.(?!gitignore$)|\.dvc$|/dvc\.(yaml|lock)$")
OF_DVC = re.compile(r"\.dvc(ignore)?$|/dvc\.(yaml|lock)$")  # It looks for them in every folder.
# Options of an output that only affect how it is shown.
SHOWN = {"desc", "type", "labels", "meta", "template", "x", "y", "x_label", "y_label", "title", "header"}
DOCUMENTS = ("*.md", "*.rst", "*.cff", "README", "README.txt", "LICEN[CS]E", "LICEN[CS]E.txt", ".gitignore")


def files(change: Change) -> Iterator[Finding]:
    """Edits of files that no stage depends on, but that may be read. Changed package versions are only noted."""
    base, head = change.base, change.head
    if not base.pipeline.stages:
        return
    known = {DVC_FILE, LOCK, POLICY, NOISE, *base.pipeline.metrics, *base.pipeline.params, *base.pipeline.declared}
    bumped: dict[Bump, None] = {}
    uncovered = [name for name in _free_params(change) if not _is_unread(name, change)]
    for path in change.edited:
        data = path[:-4] if path.endswith(".dvc") else None
        if is_of_pins(path):
            versions = other_versions(base, head, path)
            if versions is None:
                yield unsure("what is installed changed, read it: {}", path)
            bumped |= dict.fromkeys(versions or ())
        elif data in base.pipeline.declared and path in base.tree.entries and not head.tree.files(data):
            continue  # dvc.lock has the hash of its data, which is not in git.
        elif enclosing(path, known):
            # No hash covers files that DVC ignores, such as bytecode.
            uncovered += [path] if base.tree.ignored.match_file(path) or HIDING.search(path) else []
        elif not _is_unread(path, change):
            uncovered.append(path)
    if uncovered:
        yield unsure("{} changed, which no stage of the base depends on: read the diff", uncovered)
    if bumped:
        yield note("other versions are installed: {}", [Text("{} {} → {}", *bump) for bump in bumped])


def scorer(change: Change) -> Iterator[Finding]:
    """Edits of the scorer, as defined by the base. If it differs, equal metrics may have different meanings.

    Unless the policy names some, its files are those that the scoring stages depend on, or only a stage that checks the
    pipeline: one that is upstream of them and depends on all their code and on the code that runs stages. Its params
    are those that only scoring stages read, unless the policy names some.
    """
    if not change.base.has_results:
        return
    pipeline = change.base.pipeline
    code, scoring = pipeline.sources, {stage for stage in change.scoring.values() if stage in pipeline.stages}
    own = {path for stage in scoring for path in code[stage]}
    before = pipeline.before(scoring)
    others = {stage for stage in before if not all(enclosing(path, code[stage]) for path in own)}
    old, new = pipeline.locked_params(scoring), change.head.pipeline.locked_params(scoring)
    named = change.policy.scorer or []
    params = {one for one in named if one in old} or {**old, **new}.keys() - pipeline.locked_params(others).keys()
    paths = [one for one in named if one not in old]
    if absent := [path for path in paths if not change.base.tree.files(path)]:
        yield unsure("{} names a scorer that {} does not have: {}", POLICY, change.base.name, absent)
    changed = []
    for path in change.edited:
        readers = {stage for stage in before | scoring if enclosing(path, code[stage])}
        implied = readers & scoring or (readers and not readers & others)
        is_scorer = enclosing(path, paths) if paths else implied
        if is_scorer and not is_of_pins(path):  # Installed packages have a separate check.
            changed.append(path)
    changed += sorted(name for name in params if not same(old.get(name), new.get(name)))
    if changed:
        yield unsure("the scorer changed, read its diff: {}", changed)


def stages(change: Change) -> Iterator[Finding]:
    """One finding for each stage whose definition changed; none if the base has no stages.

    Hashes cannot show whether a definition is correct, so a reviewer has to read it.
    """
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    for name in dict.fromkeys([*old, *new]) if old else ():
        before, now = (_definition(found[name]) if name in found else {} for found in (old, new))
        if changed := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
            yield unsure("stage changed, read it: {}: {}", name, changed)


def _free_params(change: Change) -> list[str]:
    """Params whose values differ, and which no stage records, in files that none depends on or writes."""
    old, new, pipeline = change.base.flat_params, change.head.flat_params, change.head.pipeline
    before, now = (dict(leaves(one.locked_params(one.stages))) for one in (change.base.pipeline, pipeline))
    hashed = {*pipeline.producers, *(path for stage in pipeline.stages.values() for path in stage.deps)}
    return [
        name
        for name in {**old, **new}
        if not same(old.get(name), new.get(name))
        and name not in (now if name in new else before)
        and not enclosing(name.split(":")[0], hashed)
    ]


def _is_unread(path: str, change: Change) -> bool:
    """Whether a file is a document, or the base's policy lists it as unread."""
    unread = change.policy.unread if change.has_own_policy else []
    name = PurePosixPath(path).name
    if OF_DVC.search(path):
        return False
    return any(fnmatchcase(name, pattern) for pattern in DOCUMENTS) or any(fnmatchcase(path, one) for one in unread)


def _definition(stage: Stage) -> dict[str, Any]:
    """Everything that determines what a run does and what is recorded, by the keys of dvc.yaml."""
    outs = {
        path: (out.kind, {name: value for name, value in out.options.items() if name not in SHOWN})
        for path, out in stage.outs.items()
    }
    settings = stage.model_dump(include={"frozen", "always_changed"}, exclude_unset=True)
    params = {file: names and {*names} for file, names in stage.params.items()}
    return {"cmd": stage.command, "deps": {*stage.deps}, "params": params, "outs": outs, **settings}
