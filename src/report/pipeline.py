"""dvc.yaml and dvc.lock of a revision: what is declared, and what a run recorded."""

import posixpath
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from src.core.errors import UserError
from src.report.safe_yaml import MAX_YAML_BYTES, parse_yaml
from src.report.schema import describe_problems
from src.report.snapshot import Snapshot

PARAMS = "params.yaml"
MAX_PROBLEMS = 5


@dataclass(frozen=True)
class Out:
    """One output of a stage.

    Attributes:
        kind: `outs`, `metrics` or `plots`.
        options: Its options in dvc.yaml; `cache: false` keeps it in git.
    """

    kind: str
    options: dict[str, Any]

    @property
    def cached(self) -> bool:
        """Whether DVC keeps it in its cache, where the report does not look."""
        return bool(self.options.get("cache", True))


@dataclass(frozen=True)
class Stage:
    """A stage as dvc.yaml declares it.

    Attributes:
        command: One command or several.
        deps: Paths.
        params: Names by file; None means all params in the file.
        outs: By path.
        settings: `frozen` and `always_changed`, where given.
    """

    command: str | list[str]
    deps: list[str]
    params: dict[str, list[str] | None]
    outs: dict[str, Out]
    settings: dict[str, bool]


@dataclass(frozen=True)
class Locked:
    """A stage as dvc.lock records its last run; a hash that is not an MD5 of DVC 3 is None."""

    command: str | list[str]
    deps: dict[str, str | None]
    params: dict[str, dict[str, Any]]
    outs: dict[str, str | None]


@dataclass(frozen=True)
class Pipeline:
    """Both files.

    Attributes:
        stages: What dvc.yaml declares, by name.
        locked: What dvc.lock records, by the stage's name.
        metrics: Paths that dvc.yaml names as metrics outside any stage.
        params: Files that dvc.yaml names as params outside any stage.
    """

    stages: dict[str, Stage]
    locked: dict[str, Locked]
    metrics: list[str]
    params: list[str]

    @property
    def producers(self) -> dict[str, str]:
        """Name of the stage that makes a path."""
        return {path: name for name, stage in self.stages.items() for path in stage.outs}


def _path(text: str) -> str:
    """A path within the repository, in its shortest form."""
    path = posixpath.normpath(text)
    if "${" in text or "://" in text or path.startswith(("/", "../")) or path in (".", ".."):
        raise ValueError("expected a path within the repository, without templates")
    return path


_Path = Annotated[str, AfterValidator(_path)]
_Outs = list[_Path | dict[_Path, dict[str, Any] | None]]


class _Declared(BaseModel):
    """A stage in dvc.yaml. The report does not support DVC's other features (foreach, matrix, wdir)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cmd: str | list[str]
    deps: list[_Path] = []
    params: list[str | dict[_Path, list[str] | None]] = []
    outs: _Outs = []
    metrics: _Outs = []
    plots: _Outs = []
    frozen: bool | None = None
    always_changed: bool | None = None
    desc: Any = None
    meta: Any = None


class _DvcYaml(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    stages: dict[str, _Declared] = {}
    metrics: list[_Path] = []
    params: list[_Path] = []
    plots: Any = None
    artifacts: Any = None


class _Item(BaseModel):
    """A dependency or output in dvc.lock."""

    model_config = ConfigDict(strict=True)

    path: _Path
    hash: str | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")] | None = None

    @property
    def oid(self) -> str | None:
        # Without `hash`, the MD5 is DVC 2's, of the content with its line endings converted.
        return self.md5 if self.hash == "md5" else None


class _Recorded(BaseModel):
    model_config = ConfigDict(strict=True)

    cmd: str | list[str]
    deps: list[_Item] = []
    params: dict[_Path, dict[str, Any]] = {}
    outs: list[_Item] = []


class _DvcLock(BaseModel):
    model_config = ConfigDict(strict=True)

    # Without it, DVC reads the whole file in another format.
    version: Literal["2.0"] = Field(default="2.0", alias="schema")
    stages: dict[str, _Recorded] = {}


def read_pipeline(snapshot: Snapshot) -> Pipeline:
    """Read both files; a missing one declares or records nothing.

    Raises:
        UserError: If one of them is malformed, or uses what the report does not support.
    """
    declared = _validated(_DvcYaml, snapshot, "dvc.yaml")
    recorded = _validated(_DvcLock, snapshot, "dvc.lock")
    stages = {name: _stage(stage, f"dvc.yaml of {snapshot.name}: {name}") for name, stage in declared.stages.items()}
    _check_outs(stages, f"dvc.yaml of {snapshot.name}")
    locked = {
        name: Locked(
            stage.cmd,
            _by_path(stage.deps, f"dvc.lock of {snapshot.name}: {name}"),
            stage.params,
            _by_path(stage.outs, f"dvc.lock of {snapshot.name}: {name}"),
        )
        for name, stage in recorded.stages.items()
    }
    return Pipeline(stages, locked, declared.metrics, declared.params)


_Schema = TypeVar("_Schema", bound=BaseModel)


def _validated(schema: type[_Schema], snapshot: Snapshot, path: str) -> _Schema:
    content = snapshot.read(path, MAX_YAML_BYTES)
    where = f"{path} of {snapshot.name}"
    if content is None:
        return schema()
    try:
        return schema.model_validate(parse_yaml(content, where))
    except ValidationError as error:
        raise UserError(f"{where}: {'; '.join(describe_problems(error)[:MAX_PROBLEMS])}") from error


def _stage(declared: _Declared, where: str) -> Stage:
    params: dict[str, list[str] | None] = {}
    for entry in declared.params:
        for file, names in ({PARAMS: [entry]} if isinstance(entry, str) else entry).items():
            known = params.get(file, [])
            params[file] = None if names is None or known is None else [*known, *names]
    outs: dict[str, Out] = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in getattr(declared, kind):
            for path, options in ({entry: None} if isinstance(entry, str) else entry).items():
                if path in outs:
                    raise UserError(f"{where}: {path} is listed twice")
                outs[path] = Out(kind, options or {})
    given = {"frozen": declared.frozen, "always_changed": declared.always_changed}
    settings = {name: value for name, value in given.items() if value is not None}
    return Stage(declared.cmd, declared.deps, params, outs, settings)


def _check_outs(stages: dict[str, Stage], where: str) -> None:
    outs = Counter(path for stage in stages.values() for path in stage.outs)
    for path, count in outs.items():
        inside = any(path[:end] in outs for end, char in enumerate(path) if char == "/")
        if count > 1 or inside:
            raise UserError(f"{where}: {path} is made by more than one stage, or is in a folder that is an output")


def _by_path(items: list[_Item], where: str) -> dict[str, str | None]:
    twice = [path for path, count in Counter(item.path for item in items).items() if count > 1]
    if twice:
        raise UserError(f"{where}: {twice[0]} is listed twice")
    return {item.path: item.oid for item in items}
