"""dvc.yaml, dvc.lock and .dvc files of a revision: what is declared, and what a run recorded.

The schemas are DVC's own (dvc/schema.py of DVC 3) without rarely used features. Anything that DVC rejects is rejected,
and so are foreach, matrix, wdir, vars, templates, data sets and cloud hashes.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from src.core.errors import UserError
from src.core.folder import folder_md5
from src.core.receipt import PARAMS_FILE
from src.revision.git import NOTHING
from src.revision.parsing import MAX_YAML_BYTES
from src.revision.tree import MAX_PATH, Tree

DVC_FILE, LOCK = "dvc.yaml", "dvc.lock"


def _path(text: str) -> str:
    """Normalise a path, which must be within the project."""
    path = posixpath.normpath(text[:MAX_PATH])
    if len(text) >= MAX_PATH or "://" in text or path.startswith(("/", "../")) or path in (".", ".."):
        raise ValueError("expected a path within the project")
    return path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


ProjectPath = Annotated[str, AfterValidator(_path)]


class _Annotations(_Strict):
    desc: str = ""
    type: str = ""
    labels: list[str] = []
    meta: Any = None


class _OutOptions(_Annotations):
    cache: bool = True
    persist: bool = False
    push: bool = True
    remote: str = ""


class _PlotOptions(_OutOptions):
    template: str = ""
    x: str = ""
    y: str = ""
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    header: bool = True


@dataclass(frozen=True)
class Out:
    """One output of a stage.

    Attributes:
        kind: `outs`, `metrics` or `plots`.
        options: Options set in dvc.yaml.
    """

    kind: str
    options: Mapping[str, Any]

    @property
    def cached(self) -> bool:
        """Whether the output is in DVC's cache, which is not read here, instead of git."""
        return bool(self.options.get("cache", True))


class Stage(_Strict):
    """A stage as declared in dvc.yaml."""

    command: str | list[str] = Field(alias="cmd")
    deps: list[ProjectPath] = []
    param_entries: list[str | dict[ProjectPath, list[str] | None]] = Field(default=[], alias="params")
    plain_outs: list[ProjectPath | dict[ProjectPath, _OutOptions]] = Field(default=[], alias="outs")
    metrics: list[ProjectPath | dict[ProjectPath, _OutOptions]] = []
    plots: list[ProjectPath | dict[ProjectPath, _PlotOptions]] = []
    frozen: bool = False
    always_changed: bool = False
    desc: str = ""
    meta: Any = None

    @cached_property
    def params(self) -> dict[str, list[str] | None]:
        """Names of params by file; None means all params of the file, as an empty list does in DVC."""
        found: dict[str, list[str] | None] = {}
        for entry in self.param_entries:
            for file, names in ({PARAMS_FILE: [entry]} if isinstance(entry, str) else entry).items():
                known = found.get(file, [])
                found[file] = [*known, *names] if names and known is not None else None
        return found

    def each_out(self) -> Iterator[tuple[str, Out]]:
        """Every output as listed, including duplicates."""
        for kind, entries in (("outs", self.plain_outs), ("metrics", self.metrics), ("plots", self.plots)):
            for entry in entries:
                if isinstance(entry, str):
                    yield entry, Out(kind, {})
                else:
                    yield from ((path, Out(kind, one.model_dump(exclude_unset=True))) for path, one in entry.items())

    @cached_property
    def outs(self) -> dict[str, Out]:
        """Outputs of all kinds by path."""
        return dict(self.each_out())


class _Plot(_Strict):
    x: str | dict[str, str] = ""
    y: str | list[str] | dict[str, str | list[str]] = ""
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    template: str = ""


class _Artifact(_Annotations):
    path: str


class _DvcYaml(_Strict):
    stages: dict[Annotated[str, Field(pattern="^[^@]+$")], Stage] = {}
    metrics: list[ProjectPath] = []
    params: list[ProjectPath] = []
    plots: list[str | Annotated[dict[str, _Plot | None], Field(min_length=1)]] = []
    artifacts: dict[str, _Artifact] = {}


class _Item(_Strict):
    """A dependency or output in dvc.lock."""

    path: ProjectPath
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
    hash: Literal["md5"]  # Without it, the MD5 is DVC 2's, of the content with converted line endings.
    size: int = 0
    nfiles: int = 0
    isexec: bool = False


def _once(items: list[_Item]) -> list[_Item]:
    for path, count in Counter(item.path for item in items).items():
        if count > 1:
            raise ValueError(f"{path} is listed twice")
    return items


class Locked(_Strict):
    """The last run of a stage as recorded in dvc.lock."""

    command: str | list[Any] = Field(alias="cmd")
    dep_items: Annotated[list[_Item], AfterValidator(_once)] = Field(default=[], alias="deps")
    params: dict[ProjectPath, dict[str, Any]] = {}
    out_items: Annotated[list[_Item], AfterValidator(_once)] = Field(default=[], alias="outs")

    @cached_property
    def deps(self) -> dict[str, str]:
        """Hash of each dependency by path."""
        return {item.path: item.md5 for item in self.dep_items}

    @cached_property
    def outs(self) -> dict[str, str]:
        """Hash of each output by path."""
        return {item.path: item.md5 for item in self.out_items}


class _DvcLock(_Strict):
    # With a different schema or none, DVC reads the whole file in another format.
    version: Literal["2.0"] = Field(alias="schema")
    stages: dict[str, Locked] = {}


class _Tracked(_Item, _OutOptions):
    """The output in a .dvc file."""


class _DvcFile(_Strict):
    """A .dvc file: data that DVC tracks without a stage."""

    outs: Annotated[list[_Tracked], Field(max_length=1)]
    md5: str = ""
    frozen: bool = False
    deps: Any = None  # Source of an import.
    desc: str = ""
    meta: Any = None


@dataclass(frozen=True)
class Pipeline:
    """The content of dvc.yaml and dvc.lock.

    Attributes:
        stages: Stages in dvc.yaml, by name.
        locked: Entries of dvc.lock, by name of the stage.
        metrics: Metrics files that dvc.yaml lists outside of stages.
        params: Params files that dvc.yaml lists outside of stages.
    """

    stages: dict[str, Stage]
    locked: dict[str, Locked]
    metrics: list[str]
    params: list[str]

    @cached_property
    def outs(self) -> dict[str, Out]:
        """Outputs of all stages by path."""
        return {path: out for stage in self.stages.values() for path, out in stage.outs.items()}

    @cached_property
    def producers(self) -> dict[str, str]:
        """Name of the stage that produces each output."""
        return {path: name for name, stage in self.stages.items() for path in stage.outs}

    def producer(self, path: str) -> str | None:
        """Name of the stage that produces a path or a folder that contains it, or None."""
        made = self.producers
        return made.get(enclosing(path, made) or "")

    @cached_property
    def directly_before(self) -> dict[str, set[str]]:
        """By stage, the stages that produce its inputs, folders that contain them, or parts of them."""
        within = defaultdict(set)
        for path, stage in self.producers.items():
            for folder in upwards(path):
                within[folder].add(stage)
        return {
            name: {
                maker
                for path in (*stage.deps, *stage.params)
                for maker in (self.producer(path), *within.get(path, ()))
                if maker
            }
            for name, stage in self.stages.items()
        }

    def before(self, stages: Collection[str]) -> set[str]:
        """Names of all upstream stages of these stages."""
        found: set[str] = set()
        left = [stage for stage in stages if stage in self.stages]
        while left:
            new = self.directly_before[left.pop()] - found
            found |= new
            left += new
        return found

    @cached_property
    def declared(self) -> dict[str, None]:
        """Paths of everything that stages read or write."""
        stages = self.stages.values()
        return {path: None for stage in stages for path in (*stage.deps, *stage.params, *stage.outs)}

    @cached_property
    def sources(self) -> dict[str, list[str]]:
        """Dependencies of each stage that no stage produces, by name of the stage."""
        made = self.producers
        return {
            name: [path for path in stage.deps if enclosing(path, made) is None] for name, stage in self.stages.items()
        }

    @property
    def has_run(self) -> bool:
        """Whether dvc.lock records a run of a stage that dvc.yaml declares."""
        return not self.stages.keys().isdisjoint(self.locked)

    @cached_property
    def locked_outs(self) -> dict[str, str]:
        """Hash in dvc.lock of each output of all stages, by path."""
        return {out: oid for locked in self.locked.values() for out, oid in locked.outs.items()}

    def locked_params(self, stages: Collection[str]) -> dict[str, Any]:
        """Params of stages in dvc.lock, with names such as `params.yaml:lr`."""
        return {
            f"{file}:{name}": value
            for stage in stages
            if stage in self.locked
            for file, values in self.locked[stage].params.items()
            for name, value in values.items()
        }


def output_md5(outs: Mapping[str, str], path: str) -> str | None:
    """Hash of an output, or of a folder that contains several, from the MD5 of each; None if there is no output."""
    if path in outs:
        return outs[path]
    files = {name.removeprefix(f"{path}/"): md5 for name, md5 in outs.items() if name.startswith(f"{path}/")}
    return folder_md5(files) if files else None


def enclosing(path: str, outs: Collection[str]) -> str | None:
    """The output that is this path or a folder that contains it, or None."""
    return next((part for part in upwards(path) if part in outs), None)


def upwards(path: str) -> list[str]:
    """The path, and every folder that contains it."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def read_pipeline(tree: Tree) -> Pipeline:
    """Read dvc.yaml and dvc.lock; a missing file counts as empty.

    Raises:
        UserError: If a file is malformed, or uses an unsupported feature.
    """
    where = f"{DVC_FILE} of {tree.name}"
    # First, because foreach and matrix, which the schema does not know, use templates.
    if tree.has(DVC_FILE) and "${" in str(tree.parse(DVC_FILE)):
        raise UserError(f"{where}: has a template, ${{...}}, which only DVC can resolve; write it out")
    declared = tree.load(_DvcYaml, DVC_FILE) or _DvcYaml()
    outs = Counter(path for stage in declared.stages.values() for path, _ in stage.each_out())
    for path, count in outs.items():
        if count > 1 or any(part in outs for part in upwards(path)[1:]):
            raise UserError(f"{where}: {path} is listed twice as an output, or is in a folder that is an output")
    pipeline = Pipeline(declared.stages, read_lock(tree), declared.metrics, declared.params)
    try:
        TopologicalSorter(pipeline.directly_before).prepare()
    except CycleError as error:
        raise UserError(f"{where}: depend on their own outputs: {', '.join(error.args[1][1:])}") from error
    return pipeline


def read_lock(tree: Tree) -> dict[str, Locked]:
    """Read the entries of dvc.lock by stage; empty if it is missing.

    Raises:
        UserError: With the repair, if the file is malformed.
    """
    try:
        recorded = tree.load(_DvcLock, LOCK)
    except UserError as error:
        # If it is too large, making it again would not help.
        repair = "" if len(tree.read(LOCK) or b"") > MAX_YAML_BYTES else f"; delete {LOCK}, then run `dvc repro`"
        raise UserError(f"{error}{repair}") from error
    return recorded.stages if recorded else {}


def tracked_md5(tree: Tree, path: str) -> str | None:
    """Hash of data that a .dvc file next to it tracks, or None.

    Raises:
        UserError: If the .dvc file is malformed.
    """
    found = tree.load(_DvcFile, f"{path}.dvc")
    name = posixpath.basename(path)
    return next((out.md5 for out in (found.outs if found else []) if out.path == name), None)


def tracked_above(tree: Tree, path: str) -> str | None:
    """Hash of the folder that contains this path and is tracked by a .dvc file, or None.

    Raises:
        UserError: If the .dvc file is malformed.
    """
    return next((md5 for folder in upwards(path)[1:] if (md5 := tracked_md5(tree, folder))), None)


def source_md5(tree: Tree, path: str, within: Mapping[str, str | None] = NOTHING) -> str | None:
    """Hash of a dependency that no stage produces, as DVC computes it; None if it is neither in git nor in a .dvc file.

    Args:
        tree: The files.
        path: The dependency.
        within: Hashes of stages' outputs in it, by path.

    Raises:
        UserError: If it cannot be hashed, or a .dvc file is malformed.
    """
    tracked = (file.removesuffix(".dvc") for file in tree.files(path) if file.endswith(".dvc"))
    return tree.md5(path, {**within, **{out: tracked_md5(tree, out) for out in tracked}}) or tracked_md5(tree, path)
