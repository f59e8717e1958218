"""Edited files that decide what DVC and git find, what is installed, or what is measured."""

import posixpath
from collections.abc import Iterator

from pathspec import GitIgnoreSpec

from src.report.change import Change
from src.report.finding import Finding, Text, joined, note, unsure
from src.report.pins import changed_pins, included, is_of_pins
from src.report.policy import POLICY
from src.revision.pipeline import Pipeline, enclosing

ATTRIBUTES = ".gitattributes"
# Patterns as in .gitignore. What decides which content DVC or git finds at a path:
HIDING = GitIgnoreSpec.from_lines(
    [
        *("/.dvc/**", "!/.dvc/plots/**", ".dvcignore", "?*.dvc", "/*/**/dvc.yaml", "/*/**/dvc.lock"),
        *(ATTRIBUTES, ".gitmodules", ".lfsconfig"),
    ]
)
# What installs packages, or runs the installation and the checks:
INSTALLING = GitIgnoreSpec.from_lines(
    [
        *(
            "install.py",
            "setup.py",
            "setup.cfg",
            "pyproject.toml",
            "Pipfile*",
            "pylock*.toml",
            "poetry.lock",
            "uv.lock",
        ),
        *("uv.toml", "pip.conf", "pip.ini", "requirements*", "constraints*", "environment*.y*ml", "conda*.y*ml"),
        *(
            "env.y*ml",
            "*.nix",
            "*.whl",
            "pixi.*",
            "pdm.*",
            "hatch.toml",
            ".python-version",
            ".tool-versions",
            "mise.toml",
            ".envrc",
        ),
        *("*Dockerfile*", "Containerfile*", "*compose*.y*ml", ".devcontainer"),
        *("[Mm]akefile", "GNUmakefile", "*.mk", "[Jj]ustfile", "Taskfile.y*ml"),
        *("tox.ini", "pytest.ini", "noxfile.py", ".pre-commit-config.y*ml"),
        *("sitecustomize.py", "usercustomize.py", "site-packages", "pyvenv.cfg"),
        *(".github", "/.ci", ".gitlab-ci.yml", ".circleci", ".travis.yml", "azure-pipelines.y*ml", "Jenkinsfile"),
        *("bitbucket-pipelines.y*ml", ".buildkite", ".drone.y*ml", ".woodpecker*", ".cirrus.y*ml", "appveyor.y*ml"),
    ]
)
TOOLS = GitIgnoreSpec.from_lines(["/src/audit/", "/src/report/", "/src/revision/", "/src/noise/"])


def decides_more(path: str) -> bool:
    """Whether a file decides what DVC and git find, what is installed, or what runs the checks."""
    return HIDING.match_file(path) or INSTALLING.match_file(path) or is_of_pins(path)


def files(change: Change) -> Iterator[Finding]:
    """Edits that may hide another change. None if the base has no stages."""
    base = change.base
    for path in change.edited if base.pipeline.stages else ():
        if path.startswith("../") and not path.endswith(f"/{ATTRIBUTES}"):
            continue  # another project's
        # Patterns do not match across line breaks.
        if "\n" in path or HIDING.match_file(path):
            yield unsure("{} changed, which may hide another change: read it", path)
        elif path in change.head.tree.entries and base.pipeline.is_planted(path, base.tree.ignored):
            yield unsure("{} is in git, though {} ignores it and no hash covers it: remove it", path, base.name)


def installed(change: Change) -> Iterator[Finding]:
    """Edits of what is installed: versions by name; more than a version cannot be judged by hashes."""
    bumps: dict[Text, None] = {}
    pins = included(change.base) | included(change.head)
    for path in change.edited:
        if path in pins or is_of_pins(path):
            more, bumped = changed_pins(change.base, change.head, path)
            bumps |= dict.fromkeys(bumped)
            if more:
                yield unsure("what is installed changed, read it: {}: {}", path, more)
        elif INSTALLING.match_file(path):
            yield unsure("what installs packages or runs the checks changed, read it: {}", path)
    if bumps:
        yield note("other versions are installed: {}", joined(bumps, ", "))


def tools(change: Change) -> Iterator[Finding]:
    """Edits of the checks' own code. The comment is made by the base's copy; other checks by the branch's."""
    if edited := list(TOOLS.match_files(change.edited)):
        yield note("this change edits its own checks, which then prove little: {}", edited)


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
            scripts = [path for path in map(posixpath.normpath, words) if path in stage.deps and path.endswith(".py")]
            found |= {*map(posixpath.dirname, scripts), *([""] if "-m" in words else [])}
    return found


def _folder_of_module(path: str) -> str | None:
    stem, ending = posixpath.splitext(path)
    return posixpath.dirname(stem.removesuffix("/__init__")) if ending in (".py", ".pyc", ".so") else None
