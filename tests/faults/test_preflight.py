"""Problems that exist before a run are found before DVC deletes the last results."""

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.core.errors import UserError
from src.guard import preflight
from src.guard.preflight import RLIMITS, check_limits
from src.mnist.check.sizes import CLASS_COUNTS, needs
from src.mnist.fetch.digits import digits_as_mnist
from src.mnist.model.params import load_params
from tests.faults.project import Project, refusal


def value(key: str, text: str) -> Callable[[str], str]:
    return lambda params: re.sub(f"^{key}: .*$", f"{key}: {text}", params, flags=re.MULTILINE)


# One of each kind; tests/unit/mnist/model/test_params.py has more.
REFUSED = {
    "epochs": (value("epochs", "2.5"), "epochs must be"),
    "lr": (value("lr", ".nan"), "lr cannot be recorded"),
    "batch": (value("batch_size", "1296"), "batch_size must be"),
    "steps": (
        lambda params: value("epochs", "10000")(value("batch_size", "1")(params)),
        "epochs and batch_size make 12950000 optimizer steps, at most 10000000 are possible",
    ),
    "unknown": (lambda params: params + "epoch: 20\n", "epoch is not a parameter"),
    "missing": (lambda params: params.replace("lr:", "#"), "lr is missing"),
    "duplicate": (lambda params: "lr: 0.1\n" + params, 'is not YAML: line 9: found duplicate key "lr"'),
    "empty": (lambda _: "", "expected one `key: value` per line, got nothing"),
}


@pytest.mark.fault(33, 34, 54)
@pytest.mark.parametrize("case", REFUSED)
def test_invalid_params_are_rejected_by_check(toy: Project, case: str) -> None:
    edit, said = REFUSED[case]
    params = toy.path / "params.yaml"
    params.write_text(edit(params.read_text()))
    assert refusal(toy.here("check")).startswith(f"check: params.yaml: {said}")


@pytest.mark.fault(33, 35)
def test_invalid_values_lose_no_results_and_small_numbers_are_parsed(toy: Project, toy_made: Project) -> None:
    done = toy.dvc("exp", "run", "--set-param", "epochs=abc", "--set-param", "lr=1e-5")
    assert done.returncode != 0
    assert (toy.results(), toy.lock()) == (toy_made.results(), toy_made.lock())
    (said,) = re.findall("check: params.yaml: .*", done.stdout + done.stderr)
    assert " epochs must be" in said
    assert " lr must be" not in said
    toy.set(epochs=1)
    assert load_params(toy.path / "params.yaml").lr == 0.00001


@pytest.mark.fault(40)
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_requested_but_missing_device_is_rejected(toy: Project) -> None:
    said = refusal(toy.here("check", PL_TRAINER_ACCELERATOR="gpu"))
    assert said.startswith("check: the GPU cannot be used: ")


def test_check_is_not_in_the_run_cache(toy_made: Project) -> None:
    records = [record.read_text() for record in toy_made.path.glob(".dvc/cache/runs/*/*/*")]
    assert any("models/model.safetensors" in record.partition("outs:")[2] for record in records)
    assert not any("data/checked" in record.partition("outs:")[2] for record in records)


def test_disk_probe_of_check_is_not_an_output(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on NFS, where a file has a name for a moment.
    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    assert toy.here("check").returncode == 0


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.mark.fault(32)
@needs_mounts
@pytest.mark.parametrize(
    ("options", "said"), [("ro", "cannot be written to"), ("size=1m", "free some")], ids=["read-only", "full"]
)
def test_full_cache_disk_is_rejected(toy: Project, options: str, said: str) -> None:
    cache = toy.path / "cache"
    cache.mkdir()
    toy.dvc_ok("cache", "dir", "--local", str(cache))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", cache], check=True)
    try:
        assert said in refusal(toy.here("check"))
    finally:
        subprocess.run(["umount", cache], check=True)


def test_class_counts_of_digits_are_correct() -> None:
    assert tuple(np.bincount(digits_as_mnist()["train"].labels)) == CLASS_COUNTS["digits"]


def test_check_does_not_import_torch(toy: Project) -> None:
    done = toy.run("python", "-IX", "importtime", "stages/__main__.py", "check")
    assert done.returncode == 0
    assert "pydantic" in done.stderr
    assert "torch" not in done.stderr


def limited(project: Project, limit: str, stage: str) -> subprocess.CompletedProcess[str]:
    """Run a stage under a limit that its shell sets."""
    return project.run("sh", "-c", f"{limit}; exec python -I stages/__main__.py {stage}")


@pytest.mark.fault(55)
def test_low_limit_is_rejected_and_digits_need_less_than_mnist(toy: Project) -> None:
    toy.set(dataset="mnist")
    assert refusal(limited(toy, "ulimit -v 4200000", "check")).startswith("check: ulimit -v: ")
    small = needs(sum(CLASS_COUNTS["digits"]), 1)
    assert small["ulimit -v"] < 4_200_000 << 10 < needs(sum(CLASS_COUNTS["mnist"]), 1)["ulimit -v"]
    assert all(0 < small[name] <= needs(60_000, 1)[name] for name in (*RLIMITS, "memory", "disk"))


@pytest.mark.fault(55)
@pytest.mark.parametrize("name", RLIMITS)
def test_every_limit_is_checked(name: str) -> None:
    limits = resource.getrlimit(RLIMITS[name])
    # Far more than this process uses.
    there = 1 << 40 if limits[1] == resource.RLIM_INFINITY else limits[1]
    needed = dict.fromkeys((*RLIMITS, "memory"), 0)
    resource.setrlimit(RLIMITS[name], (there, limits[1]))
    try:
        check_limits({**needed, name: there})
        with pytest.raises(UserError, match=f"^{name}: .* KiB are needed, .* KiB are there; raise the limit"):
            check_limits({**needed, name: there + 1})
    finally:
        resource.setrlimit(RLIMITS[name], limits)


@pytest.mark.fault(55)
@pytest.mark.parametrize(("kind", "name"), [("", "memory.max"), ("memory", "memory.limit_in_bytes")])
@pytest.mark.parametrize("limited", ["", "job", "job/step"])
def test_memory_limit_of_a_batch_system_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, limited: str
) -> None:
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "cgroup").write_text(f"3:cpu:/other\n0:{kind}:/job/step\n")
    (tmp_path / limited / name).write_text("1000\n")
    monkeypatch.setattr(preflight, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(preflight, "CGROUP_LIMITS", {kind: (tmp_path, name)})
    needed = dict.fromkeys((*RLIMITS, "memory"), 0)
    check_limits({**needed, "memory": 1000})
    with pytest.raises(UserError, match=f"{name}: .* KiB are needed"):
        check_limits({**needed, "memory": 1001})


@pytest.mark.fault(55)
@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_STACK)[1] != resource.RLIM_INFINITY, reason="needs a larger stack"
)
def test_excessive_stack_size_does_not_hang_a_stage(toy: Project) -> None:
    assert refusal(limited(toy, "ulimit -s 100000000", "fetch")).startswith("fetch: out of memory; ")


def compile_library(program: str, path: Path) -> Path:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("needs a C compiler")
    command = [compiler, "-x", "c", "-shared", "-fPIC", "-o", str(path), "-"]
    subprocess.run(command, input=program, text=True, check=True)
    return path


@pytest.mark.fault(95)
def test_file_system_without_locks_is_a_one_line_error(toy: Project, tmp_path: Path) -> None:
    program = "#include <errno.h>\nint flock(int file, int operation) { errno = ENOLCK; return -1; }"
    said = refusal(toy.stage("check", LD_PRELOAD=str(compile_library(program, tmp_path / "flock.so"))))
    assert said.startswith("check: logs/check.lock: this file system has no locks (No locks available); move ")


@pytest.fixture
def old_driver(tmp_path: Path) -> dict[str, str]:
    """Environment of a machine whose GPU has a driver that is too old for the CUDA of the pinned torch."""
    program = "int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { *v = 11080; return 0; }"
    return {"LD_LIBRARY_PATH": str(compile_library(program, tmp_path / "libcuda.so.1").parent)}


@pytest.mark.fault(57)
@pytest.mark.slow
def test_old_driver_is_rejected(toy: Project, old_driver: dict[str, str]) -> None:
    said = refusal(toy.stage("check", PL_TRAINER_ACCELERATOR="gpu", **old_driver))
    assert said.startswith("check: the GPU cannot be used: The NVIDIA driver on your system is too old")
    assert said.endswith("or train on the CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro\n")


@pytest.mark.fault(57)
@pytest.mark.slow
def test_cpu_results_do_not_depend_on_an_old_driver(project: Project, old_driver: dict[str, str]) -> None:
    before = project.results()
    project.repro("--force", PL_TRAINER_ACCELERATOR="cpu", **old_driver)
    assert project.results() == before


@pytest.mark.fault(58)
def test_linked_output_folder_is_rejected(toy: Project) -> None:
    elsewhere = toy.path.with_name("elsewhere")
    (toy.path / "models").rename(elsewhere)
    (toy.path / "models").symlink_to(elsewhere)
    assert refusal(toy.here("check")).startswith("check: models: is a symbolic link to ")


@pytest.mark.fault(58)
@pytest.mark.parametrize("variable", ["TMPDIR", "HOME"])
def test_folder_of_libraries_in_the_project_is_rejected(
    toy: Project, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    folder = str(toy.path / "logs")
    monkeypatch.setattr(tempfile, "tempdir", folder if variable == "TMPDIR" else "/tmp")
    said = f"check: {folder}: libraries would write to the project; set {variable} to a folder outside it\n"
    assert refusal(toy.here("check", **{variable: folder})) == said


FIGHTING = {"OMP_THREAD_LIMIT": "1", "OMP_DYNAMIC": "TRUE", "OMP_MAX_ACTIVE_LEVELS": "0", "OMP_STACKSIZE": "1000G"}


@pytest.mark.fault(51)
def test_conflicting_thread_settings_are_removed(toy: Project) -> None:
    toy.edit("stages/train.py", "json.dumps(dict(run.params))", "json.dumps(sorted(__import__('os').environ))")
    done = toy.stage("train", **FIGHTING)
    assert done.returncode == 0, done.stderr
    seen = set(json.loads((toy.path / "models/model.safetensors").read_text()))
    assert "PATH" in seen
    assert seen.isdisjoint(FIGHTING)


@pytest.mark.fault(51)
@pytest.mark.slow
def test_conflicting_thread_settings_do_not_hang_a_stage(project: Project) -> None:
    project.set(epochs=1, threads=2)
    assert project.here("train").returncode == 0
    before = project.results()
    # Without checkpoints, the second run trains from the start.
    shutil.rmtree(project.path / "logs/checkpoints")
    done = project.run("taskset", "--cpu-list", "0", "python", "-I", "stages/__main__.py", "train", **FIGHTING)
    assert done.returncode == 0, done.stderr
    assert project.results() == before
