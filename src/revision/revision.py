"""The content of one commit, or of the working tree. Each file is parsed once, on first use."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, receipt_path
from src.revision.git import find_commit
from src.revision.parsing import flatten, parse
from src.revision.pipeline import Pipeline, enclosing, output_md5, read_pipeline, tracked_md5
from src.revision.receipts import Receipt, read_receipt
from src.revision.stale import Mismatch, edited_outputs, stale_stages
from src.revision.tree import Tree, open_tree


class Revision:
    """A revision. The author of the branch controls every text and number in it.

    Attributes:
        name: Name given by the user.
        commit: Full hash, or None for the working tree.
        tree: Files of the revision.
    """

    def __init__(self, name: str, commit: str | None, tree: Tree) -> None:
        self.name = name
        self.commit = commit
        self.tree = tree

    @cached_property
    def pipeline(self) -> Pipeline:
        """The content of dvc.yaml and dvc.lock.

        Raises:
            UserError: If either file is malformed.
        """
        return read_pipeline(self.tree)

    @cached_property
    def params(self) -> dict[str, Any]:
        """Nested content of each params file that exists.

        Raises:
            UserError: If a file cannot be read, or params.yaml is a list or a single value, which DVC rejects.
        """
        declared = [file for stage in self.pipeline.stages.values() for file in stage.params]
        files = dict.fromkeys([PARAMS_FILE, *self.pipeline.params, *declared])
        found = {file: self.tree.parse(file) for file in files if self.tree.has(file)}
        if not isinstance(found.get(PARAMS_FILE), dict | None):
            raise UserError(f"{PARAMS_FILE} of {self.name}: expected one `key: value` per line")
        return found

    @cached_property
    def flat_params(self) -> dict[str, Any]:
        """Every param as `params.yaml:lr`, with dots between the levels.

        Raises:
            UserError: If a file cannot be read, or two params have the same name.
        """
        files = self.params.items()
        return {f"{file}:{name}": value for file, one in files for name, value in flatten(one, file).items()}

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any] | UserError | None]:
        """Unchecked values of each metrics file by name, with dots between levels.

        An unreadable file has its error, a file in DVC's cache has None, and a missing file is omitted.
        """
        outs = [path for path, out in self.pipeline.outs.items() if out.kind == "metrics"]
        cached = [path for path, out in self.pipeline.outs.items() if out.cached]
        found: dict[str, dict[str, Any] | UserError | None] = {}
        for path in dict.fromkeys([*outs, *self.pipeline.metrics]):
            content = self.tree.read(path)
            if content is not None:
                try:
                    values = parse(content, path, f"{path} of {self.name}")
                    if not isinstance(values, list):  # DVC finds no metrics in a list, such as a receipt.
                        found[path] = flatten(values, path)
                except UserError as error:
                    found[path] = error
            elif enclosing(path, cached) or self.tree.has(f"{path}.dvc"):
                found[path] = None
        return found

    def data_hashes(self, paths: Iterable[str]) -> dict[str, str | None]:
        """Hash of each path as an output or dependency in dvc.lock, or in a .dvc file; None if it is in neither.

        Raises:
            UserError: If a .dvc file is malformed.
        """
        recorded = {path: oid for locked in self.pipeline.locked.values() for path, oid in locked.deps.items()}
        return {
            path: output_md5(self.pipeline.locked_outs, path) or recorded.get(path) or tracked_md5(self.tree, path)
            for path in paths
        }

    @property
    def has_results(self) -> bool:
        """Whether a pipeline has run: there are stages in dvc.lock, and metrics, readable or not."""
        return self.pipeline.has_run and any(found != {} for found in self.metrics.values())

    @cached_property
    def stale(self) -> list[Mismatch]:
        """Mismatches between dvc.lock and the declared inputs."""
        return stale_stages(self.pipeline, self.tree, self.params)

    @cached_property
    def edited(self) -> list[Mismatch]:
        """Outputs whose content does not match dvc.lock."""
        return edited_outputs(self.pipeline, self.tree)

    @cached_property
    def receipts(self) -> dict[str, Receipt | UserError]:
        """Receipt of each stage that declares one, or the error in it."""
        found: dict[str, Receipt | UserError] = {}
        for stage, declared in self.pipeline.stages.items():
            if receipt_path(stage) in declared.outs:
                try:
                    found[stage] = read_receipt(self.tree, stage)
                except UserError as error:
                    found[stage] = error
        return found

    def text(self, path: str) -> str | None:
        """Text of a file, or None if it is missing; bytes that are not UTF-8 become replacement characters.

        Raises:
            UserError: As for `Tree.read`.
        """
        content = self.tree.read(path)
        return None if content is None else content.decode(errors="replace")


@contextmanager
def open_revision(root: Path, name: str | None, title: str = "") -> Iterator[Revision]:
    """Read a revision without touching the user's files.

    Args:
        root: Folder of the project, from `find_root`.
        name: Anything that git accepts as a revision; None for the working tree.
        title: Name in messages; `name` by default.

    Raises:
        UserError: If the revision does not exist, or its folders cannot be read within the limits.
    """
    shown = title or name or "working tree"
    commit = None if name is None else find_commit(root, name)
    with open_tree(root, shown, commit) as tree:
        yield Revision(shown, commit, tree)
