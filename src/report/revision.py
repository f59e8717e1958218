"""Everything that the report needs of one revision, read from git alone."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from dvc.exceptions import DvcException
from dvc.fs import FileSystem
from dvc.repo import Repo
from dvc.scm import RevError, resolve_rev
from dvc.utils.serialize import load_path

from src.core.errors import UserError
from src.report.stale import Finding, edited_outputs, stale_stages

POLICY = "metrics_policy.yaml"
TEST_DATA = "data/MNIST"
TILES = "plots/error_tiles.png"
TABLES = ("plots/errors.csv", "plots/confusion.csv", "plots/per_class.csv", "plots/history.csv")


@dataclass(frozen=True)
class Revision:
    """A commit, or the working tree. Every text and number in it was chosen by whoever wrote the branch.

    Attributes:
        name: As the user named it.
        commit: Hash, or None for the working tree.
        metrics: By file, then by name with dots between the levels: whatever the file holds.
        unreadable: Metrics files that exist and cannot be read, with the reason.
        params: As `metrics`.
        unreadable_params: As `unreadable`.
        code: Hash of each dependency that no stage makes, by stage and path, as dvc.lock records it.
        data: Hash of the images, as dvc.lock records it, or None.
        stale: Where dvc.lock does not match what is declared.
        edited: Outputs whose content does not match dvc.lock.
        tables: Text of each of TABLES, or None where it is missing.
        tiles: PNG of the misclassified digits in the order of plots/errors.csv, or None.
        policy: Text of the policy, or None.
    """

    name: str
    commit: str | None
    metrics: dict[str, dict[str, Any]]
    unreadable: dict[str, str]
    params: dict[str, dict[str, Any]]
    unreadable_params: dict[str, str]
    code: dict[str, dict[str, str]]
    data: str | None
    stale: list[Finding]
    edited: list[Finding]
    tables: dict[str, str | None]
    tiles: bytes | None
    policy: str | None

    @property
    def has_results(self) -> bool:
        """Whether a pipeline ran here: stages in dvc.lock, and metrics, readable or not."""
        return bool(self.code) and bool(any(self.metrics.values()) or self.unreadable)


def read_revision(repo: Repo, name: str | None) -> Revision:
    """Read a revision without touching the user's files.

    Args:
        repo: The repository.
        name: Anything that git or DVC understands as a revision; None is the working tree.

    Raises:
        UserError: If there is no such revision, or its dvc.yaml or dvc.lock cannot be read.
    """
    title = name or "working tree"
    try:
        # Twice, since the first may find a file or a folder, which DVC does not expect.
        commit = resolve_rev(repo.scm, f"{resolve_rev(repo.scm, name)}^{{commit}}") if name else None
        with repo.switch(commit) if commit else nullcontext():
            return _read(repo, title, commit)
    except RevError as error:
        advice = f"`git fetch` may bring it, and a branch that only the remote has is called origin/{name}"
        raise UserError(f"{title}: is no revision of this clone; {advice}") from error
    except DvcException as error:
        raise UserError(f"{title}: {' '.join(str(error).split())}") from error


def _read(repo: Repo, name: str, commit: str | None) -> Revision:
    stages = [stage for stage in repo.index.stages if stage.cmd]
    locked = [stage for stage in stages if any(item.hash_info for item in [*stage.deps, *stage.outs])]
    made = {out.fs_path for stage in stages for out in stage.outs}
    outs = {str(out): out.hash_info.value for stage in stages for out in stage.outs}
    metrics, unreadable = _values(repo, repo.metrics.show(hide_workspace=False))
    params, unreadable_params = _values(repo, repo.params.show(hide_workspace=False))
    return Revision(
        name=name,
        commit=commit,
        metrics=metrics,
        unreadable=unreadable,
        params=params,
        unreadable_params=unreadable_params,
        code={
            stage.name: {
                str(dep): dep.hash_info.value
                for dep in stage.deps
                if dep.fs_path not in made and isinstance(dep.hash_info.value, str)
            }
            for stage in locked
        },
        data=outs.get(TEST_DATA),
        stale=stale_stages(repo),
        edited=edited_outputs(repo),
        tables={path: _text(_content(repo, path)) for path in TABLES},
        tiles=_content(repo, TILES),
        policy=_text(_content(repo, POLICY)),
    )


def _values(repo: Repo, shown: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The files that `dvc metrics show` or `dvc params show` names: their values, and why a file has none."""
    values: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, str] = {}
    (result,) = shown.values()
    if "error" in result:
        raise DvcException(str(result["error"]))
    for path, found in result["data"].items():
        if "error" not in found:
            # Read once more, since DVC leaves out null and lists, and the report has to say that they are there.
            values[path] = flatten(load_path(f"/{path}", repo.dvcfs))
        elif not isinstance(found["error"], FileNotFoundError):
            unreadable[path] = " ".join(str(found["error"]).split()) or type(found["error"]).__name__
    return values, unreadable


def flatten(content: Any) -> dict[str, Any]:
    """Values by path, with dots between the levels; without recursion, since the depth is the branch's choice."""
    flat: dict[str, Any] = {}
    left = [("", content)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict) and (value or not name):
            left += [(f"{name}.{key}" if name else str(key), inner) for key, inner in reversed(value.items())]
        else:
            flat[name] = value
    return flat


def _content(repo: Repo, path: str) -> bytes | None:
    fs: FileSystem = repo.fs
    full = fs.join(repo.root_dir, path)
    return fs.fs.cat_file(full) if fs.isfile(full) else None


def _text(content: bytes | None) -> str | None:
    """Text of a file; what is no UTF-8 in it shows as such and is rejected by whoever parses it."""
    return None if content is None else content.decode(errors="replace")
