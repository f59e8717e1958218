"""What DVC records as a stage's inputs, read from the same place."""

from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from src.errors import UserError
from src.files import sha256
from src.params import load_params


def stage_inputs(stage: str) -> dict[str, str]:
    """State of everything that dvc.yaml declares as an input of a stage; paths are relative to the current directory.

    Args:
        stage: Its name in dvc.yaml.

    Returns:
        The value of every param as `params.yaml: name`, and the SHA-256 of every file of the dependencies by its path.

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
    for dep in map(Path, stages[stage].get("deps", [])):
        files = sorted(path for path in dep.rglob("*") if _counts(path)) if dep.is_dir() else [dep]
        try:
            inputs |= {str(path): sha256(path) for path in files}
        except FileNotFoundError as error:
            # What no other stage makes comes from git.
            repair = f"git checkout {dep}" if dep.suffix == ".py" else "dvc repro"
            raise UserError(f"{error.filename}: is missing; run `{repair}`") from error
    return inputs


def check_unchanged(stage: str, before: Mapping[str, str]) -> None:
    """Compare a stage's inputs with what they were.

    Raises:
        UserError: If one is another now.
    """
    after = stage_inputs(stage)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise UserError(f"{', '.join(changed)} changed during the run, so its result is void; run `dvc repro` again")


def _counts(path: Path) -> bool:
    """Whether a file of a folder is an input; .dvcignore excludes what Python compiles."""
    return path.is_file() and "__pycache__" not in path.parts
