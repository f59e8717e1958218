"""Does dvc.lock match dvc.yaml and the files? Decided by hashes: nothing is run, fetched or checked out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from src.report.pipeline import Locked, Pipeline, Stage
from src.report.snapshot import LinkError, Snapshot

MISSING = object()


@dataclass(frozen=True)
class Finding:
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


def stale_stages(pipeline: Pipeline, snapshot: Snapshot, params: dict[str, Any]) -> list[Finding]:
    """Where dvc.lock does not match commands, code, params and data.

    A stage that reads the output of a stale stage is stale, too. Data outside git is judged only by its hashes in
    dvc.lock.

    Args:
        pipeline: What is declared and recorded.
        snapshot: The files of that revision.
        params: Content of each params file that exists.

    Raises:
        UserError: If a dependency cannot be hashed.
    """
    findings = [
        finding
        for name, stage in pipeline.stages.items()
        for finding in _own_findings(name, stage, pipeline, snapshot, params)
    ]
    findings += [
        Finding(name, "the stage", "is in dvc.lock but no longer in dvc.yaml")
        for name in pipeline.locked
        if name not in pipeline.stages
    ]
    stale = {finding.stage for finding in findings}
    while downstream := [
        finding for name in pipeline.stages if name not in stale for finding in _after(name, stale, pipeline)
    ]:
        findings += downstream
        stale |= {finding.stage for finding in downstream}
    return findings


def edited_outputs(pipeline: Pipeline, snapshot: Snapshot) -> list[Finding]:
    """Outputs whose content differs from dvc.lock, and metrics and plots that should be in git but are not.

    Raises:
        UserError: If an output that should be in git cannot be hashed.
    """
    findings = []
    for name, stage in pipeline.stages.items():
        recorded = pipeline.locked[name].outs if name in pipeline.locked else {}
        for path, out in stage.outs.items():
            expected = recorded.get(path)
            if expected is None:
                continue  # the stage is stale, which is reported already
            try:
                found = snapshot.md5(path)
            except LinkError:
                if not out.cached:
                    raise
                continue  # a link into the cache, which DVC makes if so configured
            if found is None and not out.cached:
                findings.append(Finding(name, path, "is missing"))
            elif found not in (None, expected):
                findings.append(Finding(name, path, "differs from what dvc.lock records"))
    return findings


def _own_findings(
    name: str, stage: Stage, pipeline: Pipeline, snapshot: Snapshot, params: dict[str, Any]
) -> Iterator[Finding]:
    locked = pipeline.locked.get(name)
    if locked is None:
        yield Finding(name, "the stage", "is not in dvc.lock")
        return
    if stage.command != locked.command:
        yield Finding(name, "its command", "changed")
    for path in stage.deps:
        if problem := _dependency_problem(path, locked, pipeline, snapshot):
            yield Finding(name, path, problem)
    yield from _params_findings(name, stage, locked, params)
    for path in stage.outs:
        if locked.outs.get(path) is None:
            yield Finding(name, path, "is not in dvc.lock")
    for path in [*locked.deps, *locked.outs]:
        if path not in stage.deps and path not in stage.outs:
            yield Finding(name, path, "is in dvc.lock but no longer declared")


def _dependency_problem(path: str, locked: Locked, pipeline: Pipeline, snapshot: Snapshot) -> str:
    """What is wrong with a dependency, or an empty string."""
    recorded = locked.deps.get(path)
    if recorded is None:
        return "is not in dvc.lock"
    if producer := pipeline.producers.get(path):
        made = pipeline.locked[producer].outs.get(path) if producer in pipeline.locked else None
        return "" if recorded == made else "is not what the stage before it made"
    found = snapshot.md5(path)
    if found is None:
        return "is missing"
    return "" if found == recorded else "changed"


def _params_findings(name: str, stage: Stage, locked: Locked, params: dict[str, Any]) -> Iterator[Finding]:
    for file, names in stage.params.items():
        recorded = locked.params.get(file, {})
        if file not in params:
            yield Finding(name, file, "is missing")
            continue
        everything = params[file] if isinstance(params[file], dict) else {}
        wanted = list(map(str, everything)) if names is None else names
        for key in wanted:
            now, before = _look_up(params[file], key), recorded.get(key, MISSING)
            if now is MISSING:
                yield Finding(name, f"{file}:{key}", "is missing")
            elif before is MISSING:
                yield Finding(name, f"{file}:{key}", "is not in dvc.lock")
            elif now != before:
                yield Finding(name, f"{file}:{key}", "changed")
        for key in recorded:
            if key not in wanted:
                yield Finding(name, f"{file}:{key}", "is in dvc.lock but no longer declared")
    for file in locked.params:
        if file not in stage.params:
            yield Finding(name, file, "is in dvc.lock but no longer declared")


def _look_up(content: Any, key: str) -> Any:
    """The value of a param; its name has dots between the levels."""
    if isinstance(content, dict) and key in content:
        return content[key]
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return MISSING
        content = content[part]
    return content


def _after(name: str, stale: set[str], pipeline: Pipeline) -> list[Finding]:
    deps = pipeline.stages[name].deps
    makers = dict.fromkeys(pipeline.producers[path] for path in deps if path in pipeline.producers)
    return [Finding(name, maker, "comes before it and is stale", follows=True) for maker in makers if maker in stale]
