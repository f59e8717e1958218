"""dvc.yaml, dvc.lock and .dvc files of a revision: what is declared, and what a run recorded.

The schemas are DVC's own (dvc/schema.py of DVC 3), less what is not supported here: foreach, matrix, wdir, templates.
What DVC refuses is refused.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, folder_md5
from src.revision.parsing import MAX_YAML_BYTES, Schema, parse_yaml, validated
from src.revision.tree import Tree

LOCK = "dvc.lock"
CONFLICT = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)


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
        """Whether DVC keeps it in its cache, which is not read here."""
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

    def producer(self, path: str) -> str | None:
        """Name of the stage that makes a path or a folder that holds it, or None."""
        made = self.producers
        return made.get(enclosing(path, made) or "")

    def before(self, stages: Collection[str]) -> set[str]:
        """Names of the stages on whose outputs these stages depend, at any distance."""
        found: set[str] = set()
        left = [stage for stage in stages if stage in self.stages]
        while left:
            makers = {self.producer(path) for path in self.stages[left.pop()].deps}
            new = {maker for maker in makers if maker and maker not in found and maker not in stages}
            found |= new
            left += new
        return found

    @property
    def code(self) -> dict[str, dict[str, str]]:
        """Hash of each dependency that no stage makes, by stage and path, as dvc.lock records it."""
        made = self.producers
        return {
            name: {path: oid for path, oid in locked.deps.items() if oid is not None and enclosing(path, made) is None}
            for name, locked in self.locked.items()
            if name in self.stages
        }

    def output_hash(self, path: str) -> str | None:
        """Hash of an output, or of a folder that several lie in, as dvc.lock records them; or None."""
        return output_md5({out: oid for locked in self.locked.values() for out, oid in locked.outs.items()}, path)


def output_md5(outs: Mapping[str, str | None], path: str) -> str | None:
    """Hash of an output, or of a folder that several outputs lie in; None if there is none.

    Args:
        outs: MD5 of every output, by path.
        path: Of a file or folder.
    """
    if path in outs:
        return outs[path]
    files = {name.removeprefix(f"{path}/"): md5 for name, md5 in outs.items() if name.startswith(f"{path}/")}
    known = {name: md5 for name, md5 in files.items() if md5 is not None}
    return folder_md5(known) if known and known == files else None


def enclosing(path: str, outs: dict[str, Any]) -> str | None:
    """The output that is this path or a folder that holds it, or None."""
    return next((part for part in upwards(path) if part in outs), None)


def upwards(path: str) -> list[str]:
    """The path, and every folder that it lies in."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _path(text: str) -> str:
    """A path within the project, in its shortest form."""
    path = posixpath.normpath(text)
    if "${" in text or "://" in text or path.startswith(("/", "../")) or path in (".", ".."):
        raise ValueError("expected a path within the project, without templates")
    return path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Path = Annotated[str, AfterValidator(_path)]
_Digits = Annotated[str, Field(min_length=3)]  # DVC's own check of a hash


class _Annotated(_Strict):
    desc: str = ""
    type: str = ""
    labels: list[str] = []
    meta: Any = None


class _OutOptions(_Annotated):
    cache: bool = True
    persist: bool = False
    checkpoint: bool = False
    remote: str = ""
    push: bool = True


class _PlotOptions(_OutOptions):
    template: str = ""
    x: str = ""
    y: str = ""
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    header: bool = True


class _Declared(_Strict):
    """A stage in dvc.yaml."""

    cmd: str | list[str]
    deps: list[_Path] = []
    params: list[str | dict[_Path, list[str] | None]] = []
    outs: list[_Path | dict[_Path, _OutOptions]] = []
    metrics: list[_Path | dict[_Path, _OutOptions]] = []
    plots: list[_Path | dict[_Path, _PlotOptions | list[_PlotOptions]]] = []
    frozen: bool = False
    always_changed: bool = False
    desc: str = ""
    meta: Any = None


class _Plot(_Strict):
    x: str | dict[str, str] = ""
    y: str | list[str] | dict[str, str | list[str]] = ""
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    template: str = ""


class _Artifact(_Annotated):
    path: str


class _DvcYaml(_Strict):
    stages: dict[str, _Declared] = {}
    metrics: list[_Path] = []
    params: list[_Path] = []
    plots: list[str | Annotated[dict[str, _Plot | None], Field(min_length=1)]] = []
    artifacts: dict[str, _Artifact] = {}
    datasets: Any = None


class _Meta(_Strict):
    md5: _Digits | None = None
    checksum: _Digits | None = None
    etag: _Digits | None = None
    size: int = 0
    nfiles: int = 0
    isexec: bool = False
    version_id: str = ""


class _Placed(_Meta):
    cloud: Annotated[dict[str, _Meta], Field(max_length=1)] = {}


class _File(_Placed):
    relpath: str


class _Item(_Placed):
    """A dependency or output in dvc.lock or in a .dvc file."""

    path: _Path
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")] | None = None
    hash: str = ""
    files: list[_File] = []
    dataset: dict[str, Any] = {}

    @property
    def oid(self) -> str | None:
        # Without `hash`, the MD5 is DVC 2's, of the content with its line endings converted.
        return self.md5 if self.hash == "md5" else None


class _Recorded(_Strict):
    cmd: str | list[Any]
    deps: list[_Item] = []
    params: dict[_Path, dict[str, Any]] = {}
    outs: list[_Item] = []


class _DvcLock(_Strict):
    # With another or no schema, DVC reads the whole file in another format.
    version: Literal["2.0"] = Field(alias="schema")
    stages: dict[str, _Recorded] = {}
    datasets: Any = None


class _TrackedItem(_Item):
    cache: bool = True
    persist: bool = False
    remote: str = ""
    push: bool = True
    desc: str = ""
    type: str = ""
    labels: list[str] = []
    meta: Any = None


class _DvcFile(BaseModel):
    """A .dvc file: data that DVC tracks without a stage."""

    model_config = ConfigDict(strict=True)

    outs: list[_TrackedItem]


def read_pipeline(tree: Tree) -> Pipeline:
    """Read both files; a missing one declares or records nothing.

    Raises:
        UserError: If one of them is malformed, or uses what is not supported.
    """
    declared = _read(_DvcYaml, tree, "dvc.yaml") or _DvcYaml()
    stages = {name: _stage(stage, f"dvc.yaml of {tree.name}: {name}") for name, stage in declared.stages.items()}
    _check_outs(stages, f"dvc.yaml of {tree.name}")
    return Pipeline(stages, read_lock(tree), declared.metrics, declared.params)


def read_lock(tree: Tree) -> dict[str, Locked]:
    """What dvc.lock records of each stage; nothing if it is missing.

    Raises:
        UserError: With the repair, if it is not what DVC wrote.
    """
    where = f"{LOCK} of {tree.name}"
    try:
        if CONFLICT.search(tree.read(LOCK, MAX_YAML_BYTES) or b""):
            raise UserError(f"{where}: has the conflict markers of a merge")
        recorded = _read(_DvcLock, tree, LOCK)
        return {
            name: Locked(
                stage.cmd,
                _by_path(stage.deps, f"{where}: {name}"),
                stage.params,
                _by_path(stage.outs, f"{where}: {name}"),
            )
            for name, stage in (recorded.stages if recorded else {}).items()
        }
    except UserError as error:
        raise UserError(f"{error}; delete {LOCK}, then run `dvc repro`") from error


def tracked_md5(tree: Tree, path: str) -> str | None:
    """Hash of data that a .dvc file beside it tracks, or None.

    Raises:
        UserError: If the .dvc file is malformed.
    """
    found = _read(_DvcFile, tree, f"{path}.dvc")
    name = posixpath.basename(path)
    return next((out.oid for out in (found.outs if found else []) if out.path == name), None)


def _read(schema: type[Schema], tree: Tree, path: str) -> Schema | None:
    content = tree.read(path, MAX_YAML_BYTES)
    where = f"{path} of {tree.name}"
    return None if content is None else validated(schema, parse_yaml(content, where), where)


def _stage(declared: _Declared, where: str) -> Stage:
    params: dict[str, list[str] | None] = {}
    for entry in declared.params:
        for file, names in ({PARAMS_FILE: [entry]} if isinstance(entry, str) else entry).items():
            known = params.get(file, [])
            params[file] = None if names is None or known is None else [*known, *names]
    outs: dict[str, Out] = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in getattr(declared, kind):
            for path, options in ({entry: None} if isinstance(entry, str) else entry).items():
                if path in outs:
                    raise UserError(f"{where}: {path} is listed twice")
                outs[path] = Out(kind, _given(options))
    settings = declared.model_dump(include={"frozen", "always_changed"}, exclude_unset=True)
    return Stage(declared.cmd, declared.deps, params, outs, settings)


def _given(options: BaseModel | list[_PlotOptions] | None) -> dict[str, Any]:
    """The options that are given; those of several plots of one file are joined."""
    every = options if isinstance(options, list) else [options] if options else []
    return {name: value for one in every for name, value in one.model_dump(exclude_unset=True).items()}


def _check_outs(stages: dict[str, Stage], where: str) -> None:
    outs = Counter(path for stage in stages.values() for path in stage.outs)
    for path, count in outs.items():
        if count > 1 or any(part in outs for part in upwards(path)[1:]):
            raise UserError(f"{where}: {path} is made by more than one stage, or is in a folder that is an output")


def _by_path(items: list[_Item], where: str) -> dict[str, str | None]:
    twice = [path for path, count in Counter(item.path for item in items).items() if count > 1]
    if twice:
        raise UserError(f"{where}: {twice[0]} is listed twice")
    return {item.path: item.oid for item in items}
