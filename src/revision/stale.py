"""Compares dvc.lock with dvc.yaml and the files, by hashes; nothing is run, fetched or checked out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from src.core.values import same
from src.revision.pipeline import DVC_FILE, LOCK, Locked, Pipeline, enclosing, output_md5, source_md5, tracked_above
from src.revision.tree import LinkError, Tree

MISSING = object()
UNDECLARED, OTHER_TYPE = "is in dvc.lock but no longer declared", "has another type"
UNNOTICED = (UNDECLARED, OTHER_TYPE)  # DVC misses these, and runs the stage only with --force.


@dataclass(frozen=True)
class Mismatch:
    """One reason why a stage's results may not belong to its declared inputs.

    Attributes:
        stage: Name of the stage.
        subject: A path or a param.
        problem: Description of the problem, in our own words.
        repair: How to repair it.
    """

    stage: str
    subject: str
    problem: str
    repair: str = field(default="", compare=False)


def stale_stages(pipeline: Pipeline, tree: Tree, params: Mapping[str, Any]) -> list[Mismatch]:
    """Find mismatches between dvc.lock and commands, code, params and data.

    Only a run can show whether downstream stages are stale, too. Data outside of git is judged only by its hashes in
    dvc.lock and in .dvc files. `params` has the content of each existing params file.

    Raises:
        UserError: If a dependency cannot be hashed.
    """
    return [
        Mismatch(name, subject, problem, repair=_repair_in(pipeline, name, problem))
        for name in dict.fromkeys([*pipeline.stages, *pipeline.locked])
        for subject, problem in _problems(name, pipeline, tree, params)
    ]


def parts_outside_git(pipeline: Pipeline, tree: Tree) -> dict[tuple[str, str], tuple[str, str]]:
    """Dependencies whose changes only DVC can detect: parts of a folder that is not in git.

    By stage and path: the hash of the folder, and that of the part when the stage ran.
    """
    return {
        (stage, path): (folder, part)
        for stage, locked in pipeline.locked.items()
        for path, part in locked.deps.items()
        if not (path in pipeline.producers or tree.files(path)) and (folder := _folder_hash(path, pipeline, tree))
    }


def edited_outputs(pipeline: Pipeline, tree: Tree) -> list[Mismatch]:
    """Find outputs whose content differs from dvc.lock, and metrics and plots that are missing in git.

    Raises:
        UserError: If an output that should be in git cannot be hashed.
    """
    found = []
    for name, stage in pipeline.stages.items():
        recorded = pipeline.locked[name].outs if name in pipeline.locked else {}
        for path, out in stage.outs.items():
            expected = recorded.get(path)
            if expected is None:
                continue  # The stage is stale, which is already reported.
            try:
                content = tree.md5(path)
            except LinkError:
                if not out.cached:
                    raise
                continue  # DVC may be configured to link outputs to its cache.
            if content is None and not out.cached and out.kind != "outs":
                found.append(Mismatch(name, path, "is missing"))
            elif content not in (None, expected):
                found.append(Mismatch(name, path, "differs from what dvc.lock records"))
    return found


def repair(stage: str, problem: str, frozen: bool) -> str:
    """How to repair a stage's input. DVC does not run a stage that is frozen or whose input is missing."""
    first = ["restore it"] if problem == "is missing" else []
    options = f" --single-item --force {stage}" if problem in UNNOTICED else ""
    return ", then ".join([*first, *([f"run `dvc unfreeze {stage}`"] if frozen else []), f"run `dvc repro{options}`"])


def _repair_in(pipeline: Pipeline, name: str, problem: str) -> str:
    if not pipeline.stages:
        return f"restore {DVC_FILE}"
    if name not in pipeline.stages:
        return f"delete its entry in {LOCK}"  # DVC would keep it.
    return repair(name, problem, pipeline.stages[name].frozen)


def _problems(name: str, pipeline: Pipeline, tree: Tree, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Problems of one stage, independent of other stages: (subject, problem)."""
    stage, locked = pipeline.stages.get(name), pipeline.locked.get(name)
    if locked is None:
        yield "the stage", "is not in dvc.lock"
    elif stage is None:
        yield "the stage", "is in dvc.lock but no longer in dvc.yaml"
    else:
        yield from _compare({"its command": stage.command}, {"its command": locked.command})
        yield from _compare({path: _hash(path, locked, pipeline, tree) for path in stage.deps}, locked.deps)
        yield from _compare({path: locked.outs.get(path) or MISSING for path in stage.outs}, locked.outs)
        for file in {**stage.params, **locked.params}:
            if file not in stage.params or file not in params:
                yield file, "is missing" if file in stage.params else UNDECLARED
                continue
            content, names = params[file], stage.params[file]
            if names is None:
                found = content if isinstance(content, dict) else {}
            else:
                found = {name: _look_up(content, name) for name in names}
            now = {f"{file}:{name}": value for name, value in found.items()}
            yield from _compare(now, {f"{file}:{key}": value for key, value in locked.params.get(file, {}).items()})


def _compare(now: Mapping[str, Any], recorded: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Compare declared and recorded values by subject; yields (subject, problem)."""
    for subject in {**now, **recorded}:
        if subject not in now:
            yield subject, UNDECLARED
        elif subject not in recorded:
            yield subject, "is not in dvc.lock"
        elif now[subject] is MISSING:
            yield subject, "is missing"
        elif not same(now[subject], recorded[subject]):
            yield subject, "changed" if now[subject] != recorded[subject] else OTHER_TYPE


def _hash(path: str, locked: Locked, pipeline: Pipeline, tree: Tree) -> Any:
    """Current hash of a dependency according to git and dvc.lock, or MISSING."""
    if path in pipeline.producers:
        return output_md5(pipeline.locked_outs, path) or MISSING
    within = {out: oid for out, oid in pipeline.locked_outs.items() if out.startswith(f"{path}/")}
    found = source_md5(tree, path, within)
    if found is None and _folder_hash(path, pipeline, tree):
        found = locked.deps.get(path)  # See `parts_outside_git`.
    return found or MISSING


def _folder_hash(path: str, pipeline: Pipeline, tree: Tree) -> str | None:
    """Hash of the folder that contains a path and is an output or tracked by a .dvc file, or None."""
    made = enclosing(path, pipeline.outs)
    return pipeline.locked_outs.get(made) if made else tracked_above(tree, path)


def _look_up(content: Any, name: str) -> Any:
    """Look up a param as DVC does, with dots between levels of mappings and lists."""
    for part in name.split("."):
        if isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, dict) and part in (named := {str(key): value for key, value in content.items()}):
            content = named[part]
        else:
            return MISSING
    return content
