"""Everything that the report needs from one revision. Reading it runs, fetches and checks out nothing."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, receipt_path
from src.noise.measurement import NOISE
from src.revision.git import find_commit
from src.revision.parsing import MAX_JSON_BYTES, MAX_YAML_BYTES, flatten, parse_values
from src.revision.pipeline import Pipeline, read_pipeline
from src.revision.stale import Mismatch, edited_outputs, stale_stages
from src.revision.tree import IGNORE, Tree, open_tree

POLICY = "metrics_policy.yaml"
PINS = ("requirements.txt", "requirements.lock")
MAX_PINS_BYTES = 2_000_000
TEST_DATA = "data/MNIST"
MODEL = "models/model.safetensors"
TILES = "plots/error_tiles.png"
TABLES = ("plots/errors.csv", "plots/confusion.csv", "plots/per_class.csv", "plots/history.csv")
MAX_TABLE_BYTES = 20_000_000
MAX_PICTURE_BYTES = 10_000_000
DVC_FOLDER, DVC_TEMPLATES = ".dvc/", ".dvc/plots/"
# What runs the checks of a branch: where a branch edits it, its checks prove little.
CHECKS = (".github/", "Makefile", "install.py", "src/audit/", "src/report/")


@dataclass(frozen=True)
class Revision:
    """A commit, or the working tree. The author of the branch chose every text and number in it.

    Attributes:
        name: As the user named it.
        commit: Hash, or None for the working tree.
        pipeline: What dvc.yaml declares and dvc.lock records.
        metrics: By file, then by name with dots between the levels; the values are unchecked.
        unreadable: Metrics files that exist and cannot be read, with the reason.
        elsewhere: Metrics files that DVC keeps outside git.
        params: As `metrics`.
        stale: Where dvc.lock does not match what is declared.
        edited: Outputs whose content does not match dvc.lock.
        files: Paths of all files in git; of the working tree, of those that git does not ignore.
        rules: MD5 of each file, besides dvc.yaml, that decides what DVC or git finds at a path.
        checks: MD5 of each file in CHECKS.
        receipts: Text of the receipt of each stage that declares one, or None if it is missing.
        tables: Text of each of TABLES, or None if it is missing.
        tiles: PNG of the misclassified digits in the order of plots/errors.csv, or None.
        policy: Text of the policy, or None.
        noise: Text of the measured noise, or None.
        pins: Text of each of PINS, or None if it is missing.
    """

    name: str
    commit: str | None
    pipeline: Pipeline
    metrics: dict[str, dict[str, Any]]
    unreadable: dict[str, str]
    elsewhere: frozenset[str]
    params: dict[str, dict[str, Any]]
    stale: list[Mismatch]
    edited: list[Mismatch]
    files: frozenset[str]
    rules: dict[str, str | None]
    checks: dict[str, str | None]
    receipts: dict[str, str | None]
    tables: dict[str, str | None]
    tiles: bytes | None
    policy: str | None
    noise: str | None
    pins: dict[str, str | None]

    @property
    def code(self) -> dict[str, dict[str, str]]:
        """Hash of each dependency that no stage makes, by stage and path, as dvc.lock records it."""
        made = self.pipeline.producers
        return {
            name: {path: oid for path, oid in locked.deps.items() if oid is not None and path not in made}
            for name, locked in self.pipeline.locked.items()
            if name in self.pipeline.stages
        }

    @property
    def has_results(self) -> bool:
        """Whether a pipeline ran here: there are stages in dvc.lock, and metrics, readable or not."""
        return bool(self.code) and bool(any(self.metrics.values()) or self.unreadable)

    @property
    def data(self) -> str | None:
        """Hash of the images, as dvc.lock records it, or None."""
        return self.output_hash(TEST_DATA)

    def output_hash(self, path: str) -> str | None:
        """Hash of an output, as dvc.lock records it, or None."""
        return next((locked.outs[path] for locked in self.pipeline.locked.values() if path in locked.outs), None)


def read_revision(root: Path, name: str | None) -> Revision:
    """Read a revision without touching the user's files.

    Args:
        root: Top folder of the repository.
        name: Anything that git accepts as a revision, or a DVC experiment; None is the working tree.

    Raises:
        UserError: If there is no such revision, or a file in it cannot be read within the limits.
    """
    title = name or "working tree"
    commit = find_commit(root, name) if name else None
    with open_tree(root, title, commit) as snapshot:
        return _read(snapshot, title, commit)


def _read(snapshot: Tree, name: str, commit: str | None) -> Revision:
    pipeline = read_pipeline(snapshot)
    metrics, unreadable, elsewhere = _metrics(snapshot, pipeline)
    params = _params(snapshot, pipeline)
    files = sorted(snapshot.entries)
    return Revision(
        name=name,
        commit=commit,
        pipeline=pipeline,
        metrics=metrics,
        unreadable=unreadable,
        elsewhere=elsewhere,
        params={path: flatten(content) for path, content in params.items()},
        stale=stale_stages(pipeline, snapshot, params),
        edited=edited_outputs(pipeline, snapshot),
        files=frozenset(files),
        rules=_rules(snapshot, files),
        checks={path: snapshot.md5(path) for path in files if path.startswith(CHECKS)},
        receipts={
            stage: _text(snapshot, receipt_path(stage), MAX_JSON_BYTES)
            for stage, declared in pipeline.stages.items()
            if receipt_path(stage) in declared.outs
        },
        tables={path: _text(snapshot, path, MAX_TABLE_BYTES) for path in TABLES},
        tiles=snapshot.read(TILES, MAX_PICTURE_BYTES),
        policy=_text(snapshot, POLICY, MAX_YAML_BYTES),
        noise=_text(snapshot, NOISE, MAX_JSON_BYTES),
        pins={path: _text(snapshot, path, MAX_PINS_BYTES) for path in PINS},
    )


def _metrics(snapshot: Tree, pipeline: Pipeline) -> tuple[dict[str, dict[str, Any]], dict[str, str], frozenset[str]]:
    """The metrics files that dvc.yaml names: their values, why some are unreadable, and which are not in git."""
    outs = {path: out for stage in pipeline.stages.values() for path, out in stage.outs.items()}
    receipts = set(map(receipt_path, pipeline.stages))
    declared = [*(path for path, out in outs.items() if out.kind == "metrics"), *pipeline.metrics]
    values: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, str] = {}
    elsewhere = set()
    for path in dict.fromkeys(path for path in declared if path not in receipts):
        content = snapshot.read(path, MAX_JSON_BYTES)
        if content is None:
            if (path in outs and outs[path].cached) or snapshot.has(f"{path}.dvc"):
                elsewhere.add(path)
            continue
        try:
            values[path] = flatten(parse_values(content, path, f"{path} of {snapshot.name}"))
        except UserError as error:
            unreadable[path] = str(error)
    return values, unreadable, frozenset(elsewhere)


def _params(snapshot: Tree, pipeline: Pipeline) -> dict[str, Any]:
    """Content of each params file that exists.

    Raises:
        UserError: If one cannot be read.
    """
    files = [PARAMS_FILE, *pipeline.params, *(file for stage in pipeline.stages.values() for file in stage.params)]
    found = {file: snapshot.read(file, MAX_JSON_BYTES) for file in dict.fromkeys(files)}
    contents = {file: content for file, content in found.items() if content is not None}
    return {file: parse_values(content, file, f"{file} of {snapshot.name}") for file, content in contents.items()}


def _rules(snapshot: Tree, files: list[str]) -> dict[str, str | None]:
    """Hashes of the files that decide what DVC or git finds at a path; a change of one may hide another change."""
    found: dict[str, str | None] = {}
    for path in files:
        name = PurePosixPath(path).name
        if name == IGNORE and path != IGNORE:
            raise UserError(f"{path} of {snapshot.name}: hides files from DVC; move its lines to {IGNORE}")
        nested = name in ("dvc.yaml", "dvc.lock") and path != name
        # DVC's settings, and objects of its cache, which it may trust.
        own = path.startswith(DVC_FOLDER) and not path.startswith(DVC_TEMPLATES)
        if name in (IGNORE, ".gitattributes") or name.endswith(".dvc") or nested or own:
            found[path] = snapshot.md5(path)
    return found


def _text(snapshot: Tree, path: str, largest: int) -> str | None:
    """Text of a file; bytes that are not UTF-8 become replacement characters."""
    content = snapshot.read(path, largest)
    return None if content is None else content.decode(errors="replace")
