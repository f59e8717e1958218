"""What DVC records as a stage's inputs, read from the same place."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pathspec import GitIgnoreSpec
from ruamel.yaml import YAML

from src.core.errors import UserError
from src.core.files import md5
from src.model.params import load_params

IGNORE = ".dvcignore"


def stage_inputs(stage: str) -> dict[str, str]:
    """State of everything that dvc.yaml declares as an input of a stage. Paths are relative to the current directory.

    Args:
        stage: Its name in dvc.yaml.

    Returns:
        The value of every param as `params.yaml: name`, and the MD5 of every file of the dependencies by its path.

    Raises:
        UserError: If dvc.yaml has no such stage, params.yaml is not sound, or a dependency is missing.
    """
    stages = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    if stage not in stages:
        raise UserError(f"dvc.yaml: expected one of the stages {', '.join(stages)}, got {stage!r}")
    values = load_params(Path("params.yaml")).model_dump()
    # `params.yaml:` in place of a name means all params.
    declared = stages[stage].get("params", [])
    inputs = {
        f"params.yaml: {name}": repr(value)
        for name, value in values.items()
        if name in declared or {"params.yaml": None} in declared
    }
    ignored = GitIgnoreSpec.from_lines(Path(IGNORE).read_text(encoding="utf-8").splitlines())
    for dep in stages[stage].get("deps", []):
        # What no other stage makes comes from git.
        repair = f"git checkout {dep}" if dep.startswith(("src", "stages")) else "dvc repro"
        if not Path(dep).exists():
            raise UserError(f"{dep}: is missing; run `{repair}`")
        inputs |= {path: md5(Path(path)) for path in _files(dep, ignored)}
    return inputs


def _files(dep: str, ignored: GitIgnoreSpec) -> Iterator[str]:
    """Files of a dependency that DVC hashes, in a fixed order; like DVC, follow links."""
    if not Path(dep).is_dir():
        yield dep
        return
    for folder, folders, names in os.walk(dep, followlinks=True):
        folders[:] = sorted(name for name in folders if not ignored.match_file(f"{folder}/{name}/"))
        for name in sorted(names):
            if name == IGNORE:
                raise UserError(f"{folder}/{name}: hides files of {dep} from DVC; move its lines to {IGNORE}")
            if not ignored.match_file(path := f"{folder}/{name}"):
                yield path


def check_unchanged(stage: str, before: Mapping[str, str]) -> None:
    """Compare a stage's inputs with what they were.

    Raises:
        UserError: If one has changed.
    """
    after = stage_inputs(stage)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise UserError(f"{', '.join(changed)} changed during the run, so its result is void; run `dvc repro` again")
