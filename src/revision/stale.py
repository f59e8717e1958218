"""Does dvc.lock match dvc.yaml and the files? Decided by hashes: nothing is run, fetched or checked out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from src.core.values import same
from src.revision.pipeline import DVC_FILE, LOCK, Locked, Pipeline, source_md5, tracked_above
from src.revision.tree import LinkError, Tree

MISSING = object()
UNDECLARED, OTHER_TYPE = "is in dvc.lock but no longer declared", "has another type"
UNNOTICED = (UNDECLARED, OTHER_TYPE)  # by DVC, which runs the stage only if it is forced to


@dataclass(frozen=True)
class Mismatch:
    """One reason why a stage's results may not belong to its declared inputs.

    Attributes:
        stage: Its name.
        subject: A path or a param.
        problem: What is wrong with the subject, in our own words.
        repair: What to do.
    """

    stage: str
    subject: str
    problem: str
    repair: str = field(default="", compare=False)


def stale_stages(pipeline: Pipeline, tree: Tree, params: Mapping[str, Any]) -> list[Mismatch]:
    """Where dvc.lock does not match commands, code, params and data.

    Whether a later stage is stale, too, only a run can tell. Data outside git is judged only by its hashes in dvc.lock
    and in .dvc files. `params` has the content of each params file that exists.

    Raises:
        UserError: If a dependency cannot be hashed.
    """
    return [
        Mismatch(name, subject, problem, repair=_repair_in(pipeline, name, problem))
        for name in dict.fromkeys([*pipeline.stages, *pipeline.locked])
        for subject, problem in _problems(name, pipeline, tree, params)
    ]


def parts_outside_git(pipeline: Pipeline, tree: Tree) -> list[str]:
    """Dependencies of which only DVC knows if they changed: parts of a folder that is not in git."""
    deps = {path for stage in pipeline.stages.values() for path in stage.deps} - pipeline.producers.keys()
    return sorted(path for path in deps if not tree.files(path) and _is_outside_git(path, pipeline, tree))


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


def repair(stage: str, problem: str, frozen: bool) -> str:
    """What to do about a stage's input. DVC runs neither a stage whose input is missing nor one that is frozen."""
    first = ["restore it"] if problem == "is missing" else []
    options = f" --single-item --force {stage}" if problem in UNNOTICED else ""
    return ", then ".join([*first, *([f"run `dvc unfreeze {stage}`"] if frozen else []), f"run `dvc repro{options}`"])


def _repair_in(pipeline: Pipeline, name: str, problem: str) -> str:
    if not pipeline.stages:
        return f"restore {DVC_FILE}"
    if name not in pipeline.stages:
        return f"delete its entry in {LOCK}"  # DVC keeps it
    return repair(name, problem, pipeline.stages[name].frozen)


def _problems(name: str, pipeline: Pipeline, tree: Tree, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with one stage by itself: (subject, problem)."""
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
    """Where what is declared, by subject, is not what dvc.lock records."""
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
    """Hash of a dependency now, as far as git and dvc.lock tell it, or MISSING."""
    if path in pipeline.producers:
        return pipeline.output_hash(path) or MISSING
    within = {out: oid for out, oid in pipeline.locked_outs.items() if out.startswith(f"{path}/")}
    found = source_md5(tree, path, within)
    if found is None and _is_outside_git(path, pipeline, tree):
        found = locked.deps.get(path)  # see `parts_outside_git`
    return found or MISSING


def _is_outside_git(path: str, pipeline: Pipeline, tree: Tree) -> bool:
    """Whether it is in a folder that a stage keeps in the cache, or that a .dvc file tracks."""
    return pipeline.is_cached(path) or tracked_above(tree, path) is not None


def _look_up(content: Any, name: str) -> Any:
    """The value of a param as DVC finds it, with dots between the levels of mappings and lists."""
    for part in name.split("."):
        if isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, dict) and part in (named := {str(key): value for key, value in content.items()}):
            content = named[part]
        else:
            return MISSING
    return content
