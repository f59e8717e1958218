"""Finds what would fail in the code of stages without running it, because importing torch takes seconds."""

import ast
import builtins
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from src.core.errors import UserError
from src.core.files import is_within
from src.guard.stage import DVC_FILE, Stage

# Packages of the project; every other import is of the standard library or an installed package.
OWN = ("src", "stages")
# Attributes of syntax with names that it binds; some are other names, which does no harm.
BINDING = ("name", "asname", "arg", "rest")


def check_code(stages: Iterable[Stage]) -> dict[Path, ast.Module]:
    """Check the names that the files of all stages use, and their imports except those in a function or a `try`.

    Returns:
        The syntax of every file.

    Raises:
        SyntaxError: If a file is not Python.
        UserError: If a file uses a name that it does not define, or imports what is missing or no dependency.
    """
    trees: dict[Path, ast.Module] = {}
    for stage in stages:
        for path in _files(stage):
            if path not in trees:
                trees[path] = ast.parse(path.read_bytes(), path)
                # Finds more errors, such as `return` outside of a function.
                compile(trees[path], path, "exec", dont_inherit=True)
                _check_names(path, trees[path])
            for module in _imported(path, trees[path]):
                _check_import(path, module, stage)
    return trees


def _files(stage: Stage) -> Iterator[Path]:
    for dep in (Path(dep) for dep in stage.deps if is_within(dep, OWN)):
        yield from sorted(dep.rglob("*.py")) if dep.is_dir() else [dep]


def _check_names(path: Path, tree: ast.Module) -> None:
    """Raise UserError if a file uses a name that nothing in it binds."""
    bound = {*dir(builtins), *_bound(tree)}
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    if "*" not in bound and (unknown := [node for node in names if node.id not in bound]):
        first = min(unknown, key=lambda node: node.lineno)
        raise UserError(f"{path}: line {first.lineno} uses {first.id}, which is not defined; define or import it")


def _bound(tree: ast.Module) -> Iterator[str]:
    """Names that something in a file binds, in whatever scope; `*` if it imports all names of another."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and (node.id.startswith("__") or not isinstance(node.ctx, ast.Load)):
            yield node.id
        # `import os.path` binds `os`.
        yield from (text.partition(".")[0] for name in BINDING if isinstance(text := getattr(node, name, None), str))


def _imported(path: Path, tree: ast.Module) -> Iterator[str]:
    """Modules that a file imports, whatever happens."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: -node.level] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield module
            package = Path(module.replace(".", "/"), "__init__.py")
            if package.exists():
                own = {"*", *_bound(ast.parse(package.read_bytes()))}
                yield from (f"{module}.{alias.name}" for alias in node.names if alias.name not in own)


def _check_import(path: Path, module: str, stage: Stage) -> None:
    package, file = module.partition(".")[0], module.replace(".", "/")
    if package not in OWN:
        if find_spec(package) is None:
            raise UserError(
                f"{path}: imports {package}, which is not installed; add it to requirements.txt and `make lock repro`"
            )
        return
    # A folder without `__init__.py` is a package, too.
    there = [name for name in (f"{file}.py", f"{file}/__init__.py", file) if Path(name).exists()]
    if not there:
        raise UserError(f"{path}: imports {module}, which is not there; write {file}.py")
    if not is_within(there[0], stage.deps):
        raise UserError(
            f"{path}: imports {module}, but {DVC_FILE} does not list {there[0]} among the deps of stage {stage.name}; "
            "add it there, or move what several stages need to src/mnist/model"
        )
