"""Pushed results in another clone: the remotes and the registry of docs/sharing.md."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.core.files import md5
from src.mnist.predict.registry import fetch_version
from src.share.push import push
from tests.faults.project import Project, wait_for

REMOTES = ["folder", pytest.param("ssh", marks=pytest.mark.slow), pytest.param("s3", marks=pytest.mark.slow)]
Options = dict[str, str]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def server(port: int, *command: str | Path) -> Iterator[None]:
    """A server on the loopback interface within the context."""

    def answers() -> bool:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    try:
        wait_for(answers, f"an answer of {command[0]}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@contextmanager
def ssh_remote(folder: Path) -> Iterator[tuple[Options, Options]]:
    """An OpenSSH server that accepts one key."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        pytest.skip("needs the package openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port, config = free_port(), folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile none\nStrictModes no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    user = pwd.getpwuid(os.geteuid()).pw_name
    with server(port, sshd, "-D", "-f", config):
        yield {"url": f"ssh://{user}@127.0.0.1:{port}{folder}/storage"}, {"keyfile": str(folder / "user")}


@contextmanager
def s3_remote(folder: Path) -> Iterator[tuple[Options, Options]]:
    """An S3 server with one bucket and one key."""
    (folder / "buckets/bucket").mkdir(parents=True)
    port = free_port()
    rclone = Path(sys.executable).parent / "rclone"
    options = ["--config", os.devnull, "--addr", f"127.0.0.1:{port}", "--auth-key", "the-id,the-secret"]
    with server(port, rclone, "serve", "s3", folder / "buckets", *options):
        yield (
            {"url": "s3://bucket/mnist", "endpointurl": f"http://127.0.0.1:{port}"},
            {"access_key_id": "the-id", "secret_access_key": "the-secret"},
        )


@contextmanager
def folder_remote(folder: Path) -> Iterator[tuple[Options, Options]]:
    """A folder, such as a mounted share."""
    yield {"url": str(folder / "storage")}, {}


def add_remote(project: Project, options: Options, secrets: Options) -> None:
    """Configure a remote as in docs/sharing.md: shared settings in git, secrets outside."""
    url, *others = options.values()
    project.dvc_ok("remote", "add", "--default", "storage", url)
    for name, value in zip([*options][1:], others, strict=True):
        project.dvc_ok("remote", "modify", "storage", name, value)
    for name, value in secrets.items():
        project.dvc_ok("remote", "modify", "--local", "storage", name, value)


def push_all(project: Project) -> tuple[int, int, int]:
    """Run `make push` in a project."""
    with chdir(project.path):
        return push()


@pytest.mark.parametrize("kind", REMOTES)
def test_pushed_experiment_is_restored(kind: str, one_epoch: Project, tmp_path: Path) -> None:
    remote = {"folder": folder_remote, "ssh": ssh_remote, "s3": s3_remote}[kind]
    with remote(tmp_path) as (options, secrets):
        pushed = one_epoch.copy(tmp_path / "pushed")
        add_remote(pushed, options, secrets)
        assert all(value not in pushed.git("diff") for value in secrets.values())
        push_all(pushed)
        # The commit that the experiment started from; only the run cache has its results.
        other = one_epoch.clone(tmp_path / "other")
        other.git("checkout", "--quiet", "HEAD~1")
        add_remote(other, options, secrets)
        output = other.dvc_ok("exp", "run", "--pull", "-S", "epochs=1")
    assert [line for line in output.splitlines() if line.startswith("Running")] == ["Running stage 'check':"]
    assert other.results() == one_epoch.results()


@pytest.mark.fault(83)
def test_only_restorable_runs_are_pushed(one_epoch: Project, tmp_path: Path) -> None:
    project = one_epoch.copy(tmp_path / "project")
    storage = tmp_path / "storage"
    add_remote(project, {"url": str(storage)}, {})
    records = list((project.path / ".dvc/cache/runs").glob("*/*/*"))
    lost = project.outs()["models/model.safetensors"]
    project.cached(lost).unlink()
    incomplete = [record for record in records if lost in record.read_text().partition("outs:")[2]]
    objects, *counts = push_all(project)
    assert objects > 0
    assert counts == [len(records) - len(incomplete), len(incomplete)]
    assert push_all(project) == (0, *counts)
    assert {record.name for record in storage.glob("runs/*/*/*")} == {
        record.name for record in records if record not in incomplete
    }
    # It removes the objects of outputs in git, which every run has.
    project.dvc_ok("gc", "--workspace", "--force")
    assert push_all(project) == (0, 0, len(records))


@pytest.mark.fault(83)
def test_folders_of_earlier_runs_are_pushed_unless_truncated(folder: Project, tmp_path: Path) -> None:
    listing = folder.cached(folder.outs()["made"])
    (folder.path / "given").write_text("changed\n")
    folder.repro()
    for name in ("whole", "torn"):
        folder.dvc_ok("remote", "add", name, str(tmp_path / name))
    with chdir(folder.path):
        # A listing and two files per run.
        assert push("whole") == (6, 2, 0)
        listing.chmod(0o644)
        listing.write_text(listing.read_text()[:50])
        assert push("torn") == (3, 1, 1)


@pytest.mark.fault(83)
def test_run_whose_files_did_not_arrive_is_not_shared(folder: Project, tmp_path: Path) -> None:
    lost = md5(folder.path / "made/one")
    (folder.path / "given").write_text("changed\n")
    folder.repro()
    objects = tmp_path / "storage/files/md5"
    objects.mkdir(parents=True)
    # Nobody can create a file in it, as in a shared folder that belongs to someone else.
    (objects / lost[:2]).symlink_to("/proc/self")
    add_remote(folder, {"url": str(tmp_path / "storage")}, {})
    # The file, and the listing of its folder.
    with pytest.raises(UserError, match=r"^2 files failed to upload$"):
        push_all(folder)
    assert not list(tmp_path.glob("storage/runs/*/*/*"))


def test_read_only_server_is_a_one_line_error(folder: Project, tmp_path: Path) -> None:
    port = free_port()
    add_remote(folder, {"url": str(tmp_path / "storage")}, {})
    push_all(folder)
    folder.dvc_ok("remote", "add", "web", f"http://127.0.0.1:{port}")
    serve = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path / "storage")]
    refused = pytest.raises(UserError, match=r"^remote web: 501, .*; see `dvc remote list`, docs")
    with server(port, sys.executable, *serve), chdir(folder.path), refused:
        push("web")


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        ([], "no remote"),
        (["/proc/none"], r"^remote by default: .*/proc/none.*; see `dvc remote list`, docs"),
        (
            [f"ssh://127.0.0.1:{free_port()}/a"],
            r"^remote by default: .*Connect call failed.*; see `dvc remote list`, docs",
        ),
        (["gs://bucket/a"], r"^remote by default: gs is supported, but requires 'dvc-gs' to be installed; see "),
    ],
)
def test_unreachable_remote_is_a_one_line_error(
    remote: Sequence[str], message: str, one_epoch: Project, tmp_path: Path
) -> None:
    project = one_epoch.copy(tmp_path / "project")
    for url in remote:
        project.dvc_ok("remote", "add", "--default", "storage", url)
    with pytest.raises(UserError, match=message) as raised:
        push_all(project)
    assert "\n" not in str(raised.value)


def test_registered_model_is_available_elsewhere(one_epoch: Project, tmp_path: Path) -> None:
    # Imported here because only this test needs it.
    from gto.cli import app as gto

    project = one_epoch.copy(tmp_path / "project")
    add_remote(project, {"url": str(tmp_path / "storage")}, {})
    project.commit()
    push_all(project)
    for command in (["register", "mnist-classifier"], ["assign", "mnist-classifier", "--stage", "prod"]):
        done = project.run_forked(lambda: gto(command, standalone_mode=False) or 0, {})  # noqa: B023
        assert done.returncode == 0, done.stderr
    project.git("clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    elsewhere = Project(tmp_path)
    elsewhere.dvc_ok("artifacts", "get", "origin.git", "mnist-classifier", "--stage", "prod", "--out", "of-stage")
    model = (project.path / "models/model.safetensors").read_bytes()
    assert (tmp_path / "of-stage").read_bytes() == model
    with chdir(project.path):
        fetch_version("v0.0.1", tmp_path / "of-predict")
        with pytest.raises(UserError, match=r"^mnist-classifier: version v9 cannot be fetched \(Unable to find"):
            fetch_version("v9", tmp_path / "none")
    assert (tmp_path / "of-predict").read_bytes() == model
