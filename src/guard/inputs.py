"""A stage's inputs as DVC will record them: declared in dvc.yaml, hashed like DVC."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from src.core.errors import UserError
from src.core.files import md5
from src.core.receipt import PARAMS_FILE, folder_md5
from src.core.yaml_file import read_mapping
from src.mnist.model.params import load_params

IGNORE = ".dvcignore"


@dataclass(frozen=True)
class Declaration:
    """A stage as dvc.yaml declares it.

    Attributes:
        stage: Its name.
        deps: Paths of its dependencies.
        params: Names of its params; empty if `all_params` is true.
        all_params: Whether it declares params.yaml as a whole.
        outs: Paths of its outputs, metrics and plots.
    """

    stage: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    all_params: bool
    outs: tuple[str, ...]


def declared_stages() -> dict[str, Declaration]:
    """The stages of dvc.yaml in the current directory, by name."""
    stages: dict[str, Any] = read_mapping(Path("dvc.yaml"))[0]["stages"]
    return {name: _declaration(name, stage) for name, stage in stages.items()}


def _declaration(name: str, stage: Mapping[str, Any]) -> Declaration:
    params = stage.get("params", [])
    outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return Declaration(
        name,
        tuple(stage.get("deps", [])),
        tuple(param for param in params if isinstance(param, str)),
        # DVC's syntax for the whole file: `params.yaml:` in place of a name.
        {PARAMS_FILE: None} in params,
        tuple(next(iter(out)) if isinstance(out, dict) else out for out in outs),
    )


@dataclass(frozen=True)
class Inputs:
    """State of everything that a stage declares as an input.

    Attributes:
        params: Value of every declared param, by name.
        files: MD5 of every file of every dependency: by dependency, then by path relative to the current directory.
        looks: Size, times and inode of every file when it was hashed, by path.
    """

    params: dict[str, Any]
    files: dict[str, dict[str, str]]
    looks: dict[str, tuple[int, ...]]

    @cached_property
    def md5_by_path(self) -> dict[str, str]:
        """MD5 of every file."""
        return {path: digest for files in self.files.values() for path, digest in files.items()}

    def by_name(self) -> dict[str, str]:
        """Everything in one table: `params.yaml: lr` or a path, and the value or the MD5."""
        return {f"{PARAMS_FILE}: {name}": repr(value) for name, value in self.params.items()} | self.md5_by_path

    def deps(self) -> dict[str, str]:
        """MD5 of every dependency, as in dvc.lock."""
        return {
            dep: files[dep] if dep in files else folder_md5({os.path.relpath(path, dep): files[path] for path in files})
            for dep, files in self.files.items()
        }


def read_inputs(declaration: Declaration) -> Inputs:
    """Read and hash the inputs of a stage.

    Raises:
        UserError: If params.yaml is invalid, or a dependency is missing or hidden from DVC.
    """
    values = load_params(Path(PARAMS_FILE)).model_dump()
    params = {name: values[name] for name in values if declaration.all_params or name in declaration.params}
    looks, files = look_at_files(declaration.deps), {}
    for dep, found in looks.items():
        files[dep] = {path: md5(Path(path)) for path in found}
    return Inputs(params, files, {path: look for found in looks.values() for path, look in found.items()})


def look_at_files(deps: tuple[str, ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Size, times and inode of every file that DVC hashes: by dependency, then by path.

    Raises:
        UserError: If a dependency is missing or hidden from DVC.
    """
    patterns = Path(IGNORE).read_text(encoding="utf-8") if Path(IGNORE).exists() else ""
    ignored = GitIgnoreSpec.from_lines(patterns.splitlines())
    looks = {}
    for dep in deps:
        # Code comes from git, everything else from other stages.
        repair = f"git checkout {dep}" if dep.startswith(("src", "stages")) else "dvc repro"
        try:
            looks[dep] = {path: _look(path) for path in _files(dep, ignored)}
        except FileNotFoundError as error:
            raise UserError(f"{error.filename}: is missing; run `{repair}`") from error
    return looks


def _look(path: str) -> tuple[int, ...]:
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


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


def check_unchanged(declaration: Declaration, before: Inputs) -> None:
    """Compare the inputs of a stage with what they were.

    Raises:
        UserError: If one has changed.
    """
    looks = {path: look for found in look_at_files(declaration.deps).values() for path, look in found.items()}
    values = load_params(Path(PARAMS_FILE)).model_dump()
    if looks == before.looks and {name: values[name] for name in before.params} == before.params:
        return
    # A file was touched. Only its content counts.
    then, now = before.by_name(), read_inputs(declaration).by_name()
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if changed:
        raise UserError(f"{', '.join(changed)} changed during the run, so its result is void; run `dvc repro` again")
