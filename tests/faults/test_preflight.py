"""Rows 32 to 35, 40, 51, 54, 55, 57 and 58: what is bad before a run is found before DVC deletes the last results."""

import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.mnist.check.sizes import CLASS_COUNTS
from src.mnist.fetch.digits import digits_as_mnist
from src.mnist.model.params import load_params
from tests.faults.project import Project, run_stage


def assert_refused(project: Project, before: dict[str, bytes], lock: dict, done: subprocess.CompletedProcess) -> None:
    assert done.returncode != 0
    assert project.results() == before
    assert project.lock() == lock


@pytest.fixture
def refusal(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Runs stage check in this process, which has to refuse; returns what it says."""

    def run() -> str:
        monkeypatch.chdir(project.path)
        assert run_stage("check") == 1
        return capsys.readouterr().err

    return run


def value(key: str, text: str) -> Callable[[str], str]:
    return lambda params: re.sub(f"^{key}: .*$", f"{key}: {text}", params, flags=re.MULTILINE)


REFUSED = {
    **{f"row-33-epochs-{text}": (value("epochs", text), "epochs must be") for text in ("abc", "2.5", "null", "[1,2]")},
    **{f"row-33-lr-{text}": (value("lr", text), "lr must be") for text in (".nan", ".inf", "nan", "0")},
    "row-33-batch": (value("batch_size", "1296"), "batch_size must be"),
    "row-34-unknown": (lambda params: params + "epoch: 20\n", "epoch is not a parameter"),
    "row-34-duplicate": (lambda params: params + "lr: 0.1\n", 'is not YAML: line 19: found duplicate key "lr"'),
    "row-34-empty": (lambda _: "", "expected one `key: value` per line, got nothing"),
    "row-34-list": (lambda _: "- 1\n", "expected one `key: value` per line, got type list"),
    "row-54-epochs": (value("epochs", f"1{400 * '0'}"), "epochs must be"),
    "row-54-lr": (value("lr", "1e-320"), "lr must be"),
}


@pytest.mark.fault(33, 34, 54)
@pytest.mark.parametrize("case", REFUSED)
def test_bad_params_are_refused_by_the_check(project: Project, refusal: Callable[[], str], case: str) -> None:
    edit, said = REFUSED[case]
    params = project.path / "params.yaml"
    params.write_text(edit(params.read_text()))
    assert refusal().startswith(f"check: params.yaml: {said}")


@pytest.mark.fault(33)
def test_bad_values_lose_nothing(project: Project) -> None:
    before, lock = project.results(), project.lock()
    done = project.dvc("exp", "run", "--set-param", "epochs=abc", "--set-param", "lr=nan")
    assert_refused(project, before, lock, done)
    (said,) = re.findall("check: params.yaml: .*", done.stdout + done.stderr)
    assert " epochs must be" in said
    assert " lr must be" in said


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda text: text.replace("lr:", "#"), "lr is missing"),
        (lambda text: text + "lr: 0.1\n", 'duplicate key "lr"'),
        (lambda _: "- 1\n", "expected a dictionary, got 'list' in file 'params.yaml'"),
    ],
    ids=["missing", "duplicate", "list"],
)
def test_bad_files_lose_nothing(project: Project, edit: Callable[[str], str], named: str) -> None:
    before, lock, params = project.results(), project.lock(), project.path / "params.yaml"
    params.write_text(edit(params.read_text()))
    done = project.dvc("repro")
    assert_refused(project, before, lock, done)
    assert named in done.stdout + done.stderr


@pytest.mark.fault(35)
def test_small_numbers_stay_numbers(project: Project) -> None:
    done = project.dvc("exp", "run", "--set-param", "lr=1e-5", "check")
    assert done.returncode == 0, done.stderr
    assert project.lock()["check"]["params"]["params.yaml"]["lr"] == 0.00001
    assert load_params(project.path / "params.yaml").lr == 0.00001


@pytest.mark.fault(40)
def test_a_missing_device_loses_nothing(project: Project) -> None:
    before, lock = project.results(), project.lock()
    project.set(epochs=1)
    done = project.dvc("repro", PL_TRAINER_ACCELERATOR="gpu", CUDA_VISIBLE_DEVICES="")
    assert_refused(project, before, lock, done)
    assert "check: the GPU cannot be used: " in done.stdout + done.stderr


@pytest.mark.fault(40)
def test_is_checked_when_only_code_changed(project: Project) -> None:
    before, lock = project.results(), project.lock()
    model = project.path / "src/mnist/model/network.py"
    model.write_text(model.read_text() + "\n")
    done = project.dvc("repro", PL_TRAINER_ACCELERATOR="gpu", CUDA_VISIBLE_DEVICES="")
    assert_refused(project, before, lock, done)


def test_a_check_that_once_passed_is_not_taken_from_the_run_cache(project: Project) -> None:
    project.set(epochs=1)
    assert project.dvc("repro", "check").returncode == 0
    project.set(epochs=2)
    assert project.dvc("repro", "check").returncode == 0
    project.set(epochs=1)
    assert project.dvc("repro", PL_TRAINER_ACCELERATOR="gpu", CUDA_VISIBLE_DEVICES="").returncode != 0


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.mark.fault(32)
@pytest.mark.slow
@needs_mounts
@pytest.mark.parametrize(
    ("options", "said"), [("ro", "cannot be written to"), ("size=1m", "free some")], ids=["read-only", "full"]
)
def test_a_cache_without_room_loses_nothing(project: Project, options: str, said: str) -> None:
    before, lock, cache = project.results(), project.lock(), project.path / "cache"
    cache.mkdir()
    project.git("add", "--force", ".dvc/config")
    assert project.dvc("cache", "dir", "--local", str(cache)).returncode == 0
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", cache], check=True)
    try:
        project.set(epochs=1)
        done = project.dvc("repro", "check")
    finally:
        subprocess.run(["umount", cache], check=True)
    assert_refused(project, before, lock, done)
    assert said in done.stdout + done.stderr


def test_digits_have_the_counts_that_the_check_knows() -> None:
    assert tuple(np.bincount(digits_as_mnist()["train"][1])) == CLASS_COUNTS["digits"]


def test_checking_does_not_import_torch(project: Project) -> None:
    done = project.run("python", "-IX", "importtime", "stages/__main__.py", "check")
    assert done.returncode == 0
    assert "pydantic" in done.stderr
    assert "torch" not in done.stderr


@pytest.mark.fault(54)
def test_more_steps_than_fit_into_memory_are_refused(project: Project, refusal: Callable[[], str]) -> None:
    project.set(epochs=10_000, batch_size=1, val_fraction=0.1)
    assert "epochs and batch_size make 12950000 optimizer steps, at most 10000000 are possible" in refusal()


@pytest.mark.fault(55)
@pytest.mark.parametrize(
    ("option", "kilobytes"), [("-v", 3_000_000), ("-d", 900_000), ("-s", 500), ("-f", 1_000)], ids=lambda value: value
)
def test_limits_that_are_too_low_lose_nothing(project: Project, option: str, kilobytes: int) -> None:
    before, lock = project.results(), project.lock()
    # dash counts files in blocks of 512 bytes, bash in kilobytes: both are too little.
    done = limited(project, f"ulimit {option} {kilobytes}")
    assert_refused(project, before, lock, done)
    assert f"check: ulimit {option}: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def limited(project: Project, limit: str) -> subprocess.CompletedProcess[str]:
    """Stage check under a limit that its shell sets."""
    return project.run("sh", "-c", f"{limit}; exec python -I stages/__main__.py check")


@pytest.mark.fault(55)
def test_a_small_data_set_needs_less_than_mnist(project: Project) -> None:
    assert limited(project, "ulimit -v 4200000").returncode == 0
    project.set(dataset="mnist")
    assert "check: ulimit -v: " in limited(project, "ulimit -v 4200000").stderr


@pytest.mark.fault(55)
@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_STACK)[1] != resource.RLIM_INFINITY, reason="needs a larger stack"
)
def test_a_stack_that_no_thread_can_have_hangs_no_stage(project: Project) -> None:
    done = limited(project, "ulimit -s 100000000")
    assert done.returncode == 0, done.stderr


def compile_library(program: str, path: Path) -> Path:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("needs a C compiler")
    command = [compiler, "-x", "c", "-shared", "-fPIC", "-o", str(path), "-"]
    subprocess.run(command, input=program, text=True, check=True)
    return path


@pytest.mark.fault(95)
def test_a_file_system_without_locks_is_one_line(project: Project, tmp_path: Path) -> None:
    program = "#include <errno.h>\nint flock(int file, int operation) { errno = ENOLCK; return -1; }"
    done = project.stage("check", LD_PRELOAD=str(compile_library(program, tmp_path / "flock.so")))
    assert done.returncode == 1
    assert done.stderr.startswith("check: logs/check.lock: this file system has no locks (No locks available); move ")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def old_driver(tmp_path: Path) -> dict[str, str]:
    """Environment of a machine whose GPU has a driver that is too old for the CUDA of the pinned torch."""
    program = "int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { *v = 11080; return 0; }"
    return {"LD_LIBRARY_PATH": str(compile_library(program, tmp_path / "libcuda.so.1").parent)}


@pytest.mark.fault(57)
def test_a_driver_that_is_too_old_loses_nothing(project: Project, old_driver: dict[str, str]) -> None:
    before, lock = project.results(), project.lock()
    done = project.stage("check", PL_TRAINER_ACCELERATOR="gpu", **old_driver)
    assert_refused(project, before, lock, done)
    assert done.stderr.startswith("check: the GPU cannot be used: The NVIDIA driver on your system is too old")
    assert done.stderr.endswith("or train on the CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.fault(57)
@pytest.mark.slow
def test_beside_a_driver_that_is_too_old_the_cpu_computes_the_same(
    project: Project, old_driver: dict[str, str]
) -> None:
    before = project.results()
    project.repro("--force", PL_TRAINER_ACCELERATOR="cpu", **old_driver)
    assert project.results() == before


def link(project: Project, name: str) -> None:
    """Move a folder to another place, as to a larger disk, and leave a link."""
    elsewhere = project.path.with_name("elsewhere")
    (project.path / name).rename(elsewhere)
    (project.path / name).symlink_to(elsewhere)


@pytest.mark.fault(58)
@pytest.mark.parametrize("name", ["data", "metrics", "models", "plots", "receipts"])
def test_a_linked_folder_of_outputs_is_refused(project: Project, refusal: Callable[[], str], name: str) -> None:
    link(project, name)
    assert f"check: {name}: is a symbolic link to " in refusal()


@pytest.mark.fault(58)
@pytest.mark.slow
def test_a_linked_folder_of_outputs_loses_nothing(project: Project) -> None:
    link(project, "metrics")
    before, lock = project.results(), project.lock()
    project.set(epochs=1)
    assert_refused(project, before, lock, project.dvc("repro"))


FIGHTING = {"OMP_THREAD_LIMIT": "1", "OMP_DYNAMIC": "TRUE", "OMP_MAX_ACTIVE_LEVELS": "0", "OMP_STACKSIZE": "1000G"}


@pytest.mark.fault(51)
def test_a_stage_never_sees_settings_that_fight_the_number_of_threads(toy: Project) -> None:
    toy.edit("stages/train.py", "json.dumps(dict(run.params))", "json.dumps(sorted(__import__('os').environ))")
    done = toy.stage("train", **FIGHTING)
    assert done.returncode == 0, done.stderr
    seen = set(json.loads((toy.path / "metrics/train.json").read_text()))
    assert "PATH" in seen
    assert seen.isdisjoint(FIGHTING)


@pytest.mark.fault(51)
@pytest.mark.slow
def test_settings_that_fight_the_number_of_threads_hang_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set(epochs=1, threads=2)
    monkeypatch.chdir(project.path)
    assert run_stage("train") == 0
    before = project.results()
    # What is compared is a training, not the end of this one.
    shutil.rmtree(project.path / "logs/checkpoints")
    done = project.run("taskset", "--cpu-list", "0", "python", "-I", "stages/__main__.py", "train", **FIGHTING)
    assert done.returncode == 0, done.stderr
    assert project.results() == before
