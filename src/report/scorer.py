"""The scorer: the files that decide what is measured. If they differ, equal numbers need not mean the same."""

from collections.abc import Iterator

from src.report.change import Change
from src.report.environment import is_pins
from src.report.finding import Finding, unsure
from src.revision.pipeline import Pipeline, enclosing
from src.revision.tree import Tree


def scorer(change: Change) -> Iterator[Finding]:
    """Files of the scorer, as the base defines it, that are not the same in both revisions."""
    base, head = change.base, change.head
    if not base.has_results:
        return
    if change.policy.scorer is not None:
        paths, others = set(change.policy.scorer), set[str]()
    else:
        paths, others = _implied(base.pipeline, {stage for stage in change.scoring.values() if stage})
    old, new = (_files(revision.tree, paths, others) for revision in (base, head))
    # What is installed has a check of its own.
    changed = sorted(path for path in {*old, *new} if old.get(path) != new.get(path) and not is_pins(path))
    if changed:
        yield unsure("the scorer changed, read its diff: {}", changed)


def _implied(pipeline: Pipeline, scoring: set[str]) -> tuple[set[str], set[str]]:
    """What dvc.yaml implies.

    The scorer is the code that the scoring stages depend on. A stage before them that depends on all of it, too, checks
    the whole pipeline; what it depends on besides, and no other stage does, runs the stages.

    Returns:
        (paths of the scorer, paths within those of the checking stages that are other stages' own).
    """
    made = pipeline.producers

    def code(stage: str) -> set[str]:
        return {path for path in pipeline.stages[stage].deps if enclosing(path, made) is None}

    own = set().union(*(code(stage) for stage in scoring if stage in pipeline.stages))
    before = pipeline.before(scoring)
    checking = {stage for stage in before if own and all(enclosing(path, dict.fromkeys(code(stage))) for path in own)}
    beside = set().union(*(code(stage) for stage in checking))
    others = set().union(*(code(stage) for stage in before - checking)) - own
    return own | beside, others


def _files(tree: Tree, paths: set[str], others: set[str]) -> dict[str, object]:
    """Files at or below the paths, without those for which another stage's path is nearer."""
    wanted = {**dict.fromkeys(paths, True), **dict.fromkeys(others, False)}
    found = {path: (enclosing(path, wanted), entry) for path, entry in tree.entries.items()}
    return {path: entry for path, (nearest, entry) in found.items() if nearest is not None and wanted[nearest]}
