import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import stages.check
from src.core.receipt import receipt_path
from src.guard.pins import read_requirements
from src.guard.receipts import check_receipt
from tests.conftest import REPOSITORY
from tests.faults.project import Project
from tests.pipeline.conftest import paths

YAML_READER = YAML(typ="safe", pure=True)
DVC = YAML_READER.load(REPOSITORY / "dvc.yaml")
STAGES = DVC["stages"]
WORK = ["fetch", "train", "evaluate"]
# Entry points other than stages.
COMMANDS = [
    path.relative_to(REPOSITORY)
    for path in sorted(REPOSITORY.glob("src/**/*.py"))
    if '__name__ == "__main__"' in path.read_text()
]
# What each room of src/ may import from: arrows run one way. Those from a tool to the pipeline's side are to be cut.
ARROWS: dict[str, set[str]] = {
    "core": set(),
    "mnist/data": {"core"},
    "mnist/model": {"core"},
    "mnist/fetch": {"core", "mnist/data"},
    "mnist/check": {"core", "mnist/model"},
    "mnist/train": {"core", "mnist/data", "mnist/model"},
    "mnist/evaluate": {"core", "mnist/data", "mnist/model"},
    "mnist/card": {"core", "mnist/model", "revision", "noise", "report", "audit"},
    "mnist/export": {"core", "mnist/data", "mnist/model"},
    "mnist/predict": {"core", "mnist/data", "mnist/model"},
    "guard": {"core"},
    "revision": {"core"},
    "noise": {"core", "revision"},
    "report": {"core", "revision", "noise"},
    "share": {"core"},
    "audit": {"core", "revision", "noise", "report"},
    "sweep": {"core", "guard", "revision", "noise", "report"},
}


def module_file(name: str) -> Path | None:
    path = Path(*name.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if (REPOSITORY / p).exists()), None)


@cache
def imported_modules(file: Path) -> set[Path]:
    """Modules of the project that a file imports, including imports inside functions."""
    names = set()
    for node in ast.walk(ast.parse((REPOSITORY / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    files = {module_file(name) for name in names if name.split(".")[0] in ("src", "stages")}
    return {path for path in files if path is not None}


def transitive_modules(file: Path) -> set[Path]:
    seen, to_read = set[Path](), [file]
    while to_read:
        current = to_read.pop()
        if current not in seen:
            seen.add(current)
            to_read += imported_modules(current)
    return {path for path in seen if path.name != "__init__.py"}


def written(stage: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in paths(STAGES[stage].get(kind, []))]


def test_check_precedes_the_other_stages() -> None:
    assert list(STAGES) == ["check", *WORK]
    assert all(str(stages.check.MARKER) in STAGES[stage]["deps"] for stage in WORK)


@pytest.mark.parametrize("stage", WORK)
def test_stage_without_its_guard_is_rejected(stage: str) -> None:
    for command in ([f"stages/{stage}.py"], ["-m", f"stages.{stage}"]):
        done = subprocess.run([sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        said = f"this module has the stage's functions; its guarded command is `python -m stages {stage}`\n"
        assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_runs_its_module(stage: str) -> None:
    command = STAGES[stage]["cmd"]
    removal = f"rm -f {' '.join(written('check'))} && " if stage == "check" else ""
    assert command == f"{removal}exec python -I stages/__main__.py {stage}"


def code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.startswith(("src", "stages"))]


def room(file: Path) -> str:
    """The folder of src/ that contains a file, or `stages`."""
    if file.parts[0] != "src":
        return file.parts[0]
    return "/".join(file.parts[1:3] if file.parts[1] == "mnist" else file.parts[1:2])


@pytest.mark.parametrize("stage", WORK)
def test_stage_imports_only_declared_folders(stage: str) -> None:
    declared = [Path(dep) for dep in code_deps(stage)]
    for module in transitive_modules(Path("stages", f"{stage}.py")):
        assert any(module.is_relative_to(dep) for dep in declared), module


def test_check_depends_on_all_stages_and_the_guard() -> None:
    declared = [Path(dep) for dep in code_deps("check")]
    needed = transitive_modules(Path("stages/__main__.py")).union(
        *(transitive_modules(Path("stages", f"{stage}.py")) for stage in STAGES),
        *(map(Path, code_deps(stage)) for stage in WORK),
    )
    assert all(any(path.is_relative_to(dep) for dep in declared) for path in needed)
    assert STAGES["check"]["params"] == [{"params.yaml": None}]


@pytest.mark.parametrize("importing", ARROWS)
def test_imports_follow_the_layers(importing: str) -> None:
    for file in (REPOSITORY / "src" / importing).rglob("*.py"):
        modules = imported_modules(file.relative_to(REPOSITORY))
        imported = {room(module) for module in modules if module.parts[-1] != "__init__.py" or room(module) in ARROWS}
        assert imported <= {importing, *ARROWS[importing]}, file


def test_every_folder_has_import_rules() -> None:
    packages = [*REPOSITORY.glob("src/*/__init__.py"), *REPOSITORY.glob("src/mnist/*/__init__.py")]
    assert {room(path.relative_to(REPOSITORY)) for path in packages} - {"mnist/__init__.py"} == set(ARROWS)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_prepares_its_process_first(command: Path) -> None:
    (last,) = [node for node in ast.parse((REPOSITORY / command).read_text()).body if isinstance(node, ast.If)]
    assert ast.unparse(last.body[0]) == "prepare_process()"


def test_package_init_files_contain_no_code() -> None:
    for path in [*REPOSITORY.glob("src/**/__init__.py"), *REPOSITORY.glob("stages/**/__init__.py")]:
        assert all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body), path


def test_every_module_is_used_by_a_stage_or_a_command() -> None:
    entries = [*COMMANDS, Path("stages/__main__.py"), *(Path("stages", f"{stage}.py") for stage in STAGES)]
    used = {module for entry in entries for module in transitive_modules(entry)}
    modules = {path.relative_to(REPOSITORY) for path in REPOSITORY.glob("src/**/*.py")}
    assert {path for path in modules if path.name != "__init__.py"} <= used


def test_packages_in_receipts_are_pinned_inputs(reproduced: Project) -> None:
    computing = {"python"}
    for stage in ("train", "evaluate"):
        (receipt,) = json.loads((reproduced.path / receipt_path(stage)).read_text())
        computing |= receipt["versions"].keys()
    assert computing - {"python"} <= read_requirements(REPOSITORY / "requirements.txt").keys() - stages.check.TOOLS


@pytest.mark.parametrize("stage", WORK)
def test_committed_receipts_match_the_committed_lock(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    check_receipt(stage, YAML_READER.load(REPOSITORY / "dvc.lock")["stages"][stage])


def test_commands_contain_no_templates() -> None:
    assert "${" not in (REPOSITORY / "dvc.yaml").read_text()
