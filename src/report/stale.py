"""Does dvc.lock match what is declared? Answered from hashes alone: nothing is run, fetched or checked out."""

from dataclasses import dataclass

from dvc.dependency import ParamsDependency
from dvc.dependency.param import BadParamFileError, ParamsIsADirectoryError
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage


@dataclass(frozen=True)
class Finding:
    """One reason why a stage's results are not what the declared inputs give.

    Attributes:
        stage: Its name.
        subject: What is wrong: a path, a param, another stage.
        problem: What is wrong with it, in our own words.
        follows: Whether only a stage before it is stale: it runs again if that one then gives something else.
    """

    stage: str
    subject: str
    problem: str
    follows: bool = False


def stale_stages(repo: Repo) -> list[Finding]:
    """Where dvc.lock does not match commands, code, params and data, in the revision that `repo` stands at.

    A stage that reads the output of a stale stage is stale as well. Data that is not there (nothing pulled) is judged
    by the hashes in dvc.lock alone.
    """
    stages = [stage for stage in repo.index.stages if stage.cmd]
    producers = {out.fs_path: (out, stage) for stage in repo.index.stages for out in stage.outs}
    findings = [finding for stage in stages for finding in _own_findings(stage, producers)]
    stale = {finding.stage for finding in findings}
    while downstream := [
        finding for stage in stages if _name(stage) not in stale for finding in _after(stage, stale, producers)
    ]:
        findings += downstream
        stale |= {finding.stage for finding in downstream}
    return findings


def edited_outputs(repo: Repo) -> list[Finding]:
    """Outputs whose content is not what dvc.lock records, and metrics and plots that should be in git and are not."""
    findings = []
    for stage in repo.index.stages:
        for out in stage.outs:
            if not out.hash_info:
                continue  # the stage is stale, which says it all
            if out.exists:
                if out.changed_checksum():
                    findings.append(Finding(_name(stage), str(out), "differs from what dvc.lock records"))
            elif not out.use_cache:
                findings.append(Finding(_name(stage), str(out), "is missing"))
    return findings


def _own_findings(stage: Stage, producers: dict[str, tuple[Output, Stage]]) -> list[Finding]:
    name = _name(stage)
    if not any(item.hash_info for item in [*stage.deps, *stage.outs]):
        return [Finding(name, "the stage", "is not in dvc.lock")]
    findings = [Finding(name, "its command", "changed")] if stage.changed_stage() else []
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            findings += _params_findings(name, dep)
        elif not dep.hash_info:
            findings.append(Finding(name, str(dep), "is not in dvc.lock"))
        elif dep.fs_path in producers:
            if dep.hash_info != producers[dep.fs_path][0].hash_info:
                findings.append(Finding(name, str(dep), "is not what the stage before it made"))
        elif status := dep.workspace_status():
            findings += [Finding(name, path, _words(state)) for path, state in status.items()]
    findings += [Finding(name, str(out), "is not in dvc.lock") for out in stage.outs if not out.hash_info]
    return findings


def _params_findings(stage: str, dep: ParamsDependency) -> list[Finding]:
    try:
        status = dep.workspace_status()
    except (BadParamFileError, ParamsIsADirectoryError):
        return [Finding(stage, str(dep), "cannot be read")]
    findings = []
    for path, state in status.items():
        if isinstance(state, str):
            findings.append(Finding(stage, path, _words(state)))
        else:
            findings += [Finding(stage, f"{path}:{key}", _words(word)) for key, word in state.items()]
    return findings


def _after(stage: Stage, stale: set[str], producers: dict[str, tuple[Output, Stage]]) -> list[Finding]:
    makers = dict.fromkeys(_name(producers[dep.fs_path][1]) for dep in stage.deps if dep.fs_path in producers)
    return [
        Finding(_name(stage), maker, "comes before it and is stale", follows=True) for maker in makers if maker in stale
    ]


def _words(state: str) -> str:
    """DVC's word for a state, as the end of a sentence."""
    return {"modified": "changed", "deleted": "is missing", "new": "is not in dvc.lock"}.get(state, state)


def _name(stage: Stage) -> str:
    return stage.name if hasattr(stage, "name") else stage.path_in_repo
