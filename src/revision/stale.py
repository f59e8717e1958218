"""Does dvc.lock match dvc.yaml and the files? Decided by hashes: nothing is run, fetched or checked out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from src.core.values import same
from src.revision.pipeline import Locked, Pipeline, Stage, enclosing, tracked_md5
from src.revision.tree import LinkError, Tree

MISSING = object()


@dataclass(frozen=True)
class Mismatch:
    """One reason why a stage's results may not belong to its declared inputs.

    Attributes:
        stage: Its name.
        subject: A path, a param or another stage.
        problem: What is wrong with the subject, in our own words.
        follows: Whether the only problem is a stale stage before it, which may or may not change this stage's inputs.
    """

    stage: str
    subject: str
    problem: str
    follows: bool = False


def stale_stages(pipeline: Pipeline, tree: Tree, params: Mapping[str, Any]) -> list[Mismatch]:
    """Where dvc.lock does not match commands, code, params and data.

    A stage that reads the output of a stale stage is stale, too. Data outside git is judged only by its hashes in
    dvc.lock and in .dvc files.

    Args:
        pipeline: What is declared and recorded.
        tree: The files of that revision.
        params: Content of each params file that exists.

    Raises:
        UserError: If a dependency cannot be hashed.
    """
    found = [
        mismatch
        for name, stage in pipeline.stages.items()
        for mismatch in _own_mismatches(name, stage, pipeline, tree, params)
    ]
    found += [
        Mismatch(name, "the stage", "is in dvc.lock but no longer in dvc.yaml")
        for name in pipeline.locked
        if name not in pipeline.stages
    ]
    stale = {mismatch.stage for mismatch in found}
    while after := [
        mismatch for name in pipeline.stages if name not in stale for mismatch in _after(name, stale, pipeline)
    ]:
        found += after
        stale |= {mismatch.stage for mismatch in after}
    return found


def edited_outputs(pipeline: Pipeline, tree: Tree) -> list[Mismatch]:
    """Outputs whose content differs from dvc.lock, and metrics and plots that should be in git but are not.

    Raises:
        UserError: If an output that should be in git cannot be hashed.
    """
    found = []
    for name, stage in pipeline.stages.items():
        recorded = pipeline.locked[name].outs if name in pipeline.locked else {}
        for path, out in stage.outs.items():
            expected = recorded.get(path)
            if expected is None:
                continue  # the stage is stale, which is reported already
            try:
                content = tree.md5(path)
            except LinkError:
                if not out.cached:
                    raise
                continue  # a link into the cache, which DVC makes if so configured
            if content is None and not out.cached:
                found.append(Mismatch(name, path, "is missing"))
            elif content not in (None, expected):
                found.append(Mismatch(name, path, "differs from what dvc.lock records"))
    return found


def _own_mismatches(
    name: str, stage: Stage, pipeline: Pipeline, tree: Tree, params: Mapping[str, Any]
) -> Iterator[Mismatch]:
    locked = pipeline.locked.get(name)
    if locked is None:
        yield Mismatch(name, "the stage", "is not in dvc.lock")
        return
    if not same(stage.command, locked.command):
        yield Mismatch(name, "its command", "changed")
    for path in stage.deps:
        if problem := _dependency_problem(path, locked, pipeline, tree):
            yield Mismatch(name, path, problem)
    yield from _params_mismatches(name, stage, locked, params)
    for path in stage.outs:
        if locked.outs.get(path) is None:
            yield Mismatch(name, path, "is not in dvc.lock")
    for path in [*locked.deps, *locked.outs]:
        if path not in stage.deps and path not in stage.outs:
            yield Mismatch(name, path, "is in dvc.lock but no longer declared")


def _dependency_problem(path: str, locked: Locked, pipeline: Pipeline, tree: Tree) -> str:
    """What is wrong with a dependency, or an empty string."""
    recorded = locked.deps.get(path)
    if recorded is None:
        return "is not in dvc.lock"
    if producer := pipeline.producers.get(path):
        made = pipeline.locked[producer].outs.get(path) if producer in pipeline.locked else None
        return "" if recorded == made else "is not what the stage before it made"
    found = tree.md5(path) or tracked_md5(tree, path)
    if found is None:
        # Within an output that is not in git, only the hash of the whole output is known.
        return "" if _is_within_an_output(path, pipeline) else "is missing"
    return "" if found == recorded else "changed"


def _is_within_an_output(path: str, pipeline: Pipeline) -> bool:
    made = pipeline.producers
    out = enclosing(path, made)
    return out is not None and pipeline.stages[made[out]].outs[out].cached


def _params_mismatches(name: str, stage: Stage, locked: Locked, params: Mapping[str, Any]) -> Iterator[Mismatch]:
    for file, names in stage.params.items():
        recorded = locked.params.get(file, {})
        if file not in params:
            yield Mismatch(name, file, "is missing")
            continue
        everything = params[file] if isinstance(params[file], dict) else {}
        wanted = list(map(str, everything)) if names is None else names
        for key in wanted:
            now, before = _look_up(params[file], key), recorded.get(key, MISSING)
            if now is MISSING:
                yield Mismatch(name, f"{file}:{key}", "is missing")
            elif before is MISSING:
                yield Mismatch(name, f"{file}:{key}", "is not in dvc.lock")
            elif not same(now, before):
                yield Mismatch(name, f"{file}:{key}", "changed")
        for key in recorded:
            if key not in wanted:
                yield Mismatch(name, f"{file}:{key}", "is in dvc.lock but no longer declared")
    for file in locked.params:
        if file not in stage.params:
            yield Mismatch(name, file, "is in dvc.lock but no longer declared")


def _look_up(content: Any, key: str) -> Any:
    """The value of a param; its name has dots between the levels."""
    if isinstance(content, dict) and key in content:
        return content[key]
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return MISSING
        content = content[part]
    return content


def _after(name: str, stale: set[str], pipeline: Pipeline) -> list[Mismatch]:
    makers = dict.fromkeys(pipeline.producer(path) for path in pipeline.stages[name].deps)
    return [
        Mismatch(name, maker, "comes before it and is stale", follows=True)
        for maker in makers
        if maker is not None and maker in stale and maker != name
    ]
