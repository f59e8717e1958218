"""Several clones share a study in an SQLite file, or in PostgreSQL on a temporary server."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.sweep.experiments import references
from tests.faults.project import Project, is_gone, wait_for
from tests.unit.sweep.conftest import (
    LONG,
    clone,
    count,
    learning_rates,
    make_remote,
    processes,
    pushed,
    start_sweep,
    states,
    sweep_ok,
    write_spec,
)

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
# The server refuses to run as root.
USER = "postgres" if os.getuid() == 0 else None


@contextmanager
def server() -> Iterator[str]:
    """Start a PostgreSQL server and yield the URL of its database."""
    if not SERVERS:
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    # Accessible to the server's user, and short enough for the path of a socket.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if USER:
        shutil.chown(folder, USER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    def run(program: str, *words: str) -> None:
        command = [str(SERVERS[-1] / program), "-D", str(folder / "data"), *words]
        subprocess.run(command, user=USER, cwd=folder, env={"LC_ALL": "C"}, check=True, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-A", "trust", "-U", "sweeper")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield f"postgresql+psycopg://sweeper@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/team.db"
    else:
        with server() as url:
            yield url


@pytest.mark.fault(69)
@pytest.mark.slow
def test_killed_clone_loses_no_trial_and_repeats_none(toy: Project, tmp_path: Path, storage: str) -> None:
    write_spec(toy, {"seed": "range(1, 5)"})
    remote = make_remote(toy, tmp_path)
    hold, counted = tmp_path / "hold", tmp_path / "counted"
    hold.touch()
    env = {"STORAGE": storage, "TOY_HOLD": str(hold), "TOY_COUNT": str(counted)}
    clones = [clone(toy, remote, tmp_path / name) for name in ("a", "b")]
    # Both create and fill the study concurrently.
    first, second = (
        start_sweep(one, "--workers", "1", "--remote", "origin", "--heartbeat", "3", **env) for one in clones
    )
    wait_for(lambda: count(counted) == 2, "two trainings", LONG)
    (stage,) = processes(clones[0], "train")
    os.killpg(first.pid, signal.SIGKILL)
    wait_for(lambda: is_gone(stage), "the end of all it started")
    # The other clone runs the waiting trials, then the dead clone's, once its heartbeats stop.
    hold.unlink()
    assert second.wait(LONG) == 0, clones[1].output()
    assert states(storage) == ["COMPLETE"] * 4
    assert (count(counted), pushed(toy)) == (5, 4)
    # A fresh clone with only the remote has nothing to train.
    third = clone(toy, remote, tmp_path / "c")
    assert sweep_ok(third, "--remote", "origin", TOY_COUNT=str(counted)).count("known already") == 4
    assert (count(counted), len(references(third.path))) == (5, 4)
    for one in clones:
        one.clean_up()


@pytest.mark.fault(75)
@pytest.mark.slow
def test_lost_remote_does_not_end_a_running_trial(toy: Project, tmp_path: Path) -> None:
    write_spec(toy, {"lr": "0.003,0.004"})
    remote, hold = make_remote(toy, tmp_path), tmp_path / "hold"
    hold.touch()
    process = start_sweep(toy, "--workers", "1", "--remote", "origin", TOY_HOLD=str(hold))
    wait_for(lambda: processes(toy, "train"), "a training", LONG)
    remote.rename(tmp_path / "gone")
    hold.unlink()
    assert process.wait(LONG) == 1
    assert "lr=0.003: final.val_acc 0.8980, is done, but could not be pushed to origin" in toy.output()
    assert "sweep: git ls-remote" in toy.output()
    assert "1 not run; run this again to continue" in toy.output()
    assert learning_rates(toy) == [0.003]
    (tmp_path / "gone").rename(remote)
    assert "1 complete, 1 to run" in sweep_ok(toy, "--remote", "origin")
    assert pushed(toy) == 2
