"""Teams share a study in PostgreSQL; the server is Debian's, started here."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.sweep.experiments import references
from tests.faults.project import Project, is_gone, wait_for
from tests.unit.sweep.conftest import (
    LONG,
    clone,
    count,
    make_remote,
    processes,
    pushed,
    start_sweep,
    sweep_ok,
    write_spec,
)

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
# The server refuses to run as root.
USER = "postgres" if os.getuid() == 0 else None


@pytest.fixture
def url() -> Iterator[str]:
    """A database on a server of its own."""
    if not SERVERS:
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    # Where its user may go, and short enough for a socket.
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


@pytest.mark.slow
def test_two_clones_share_a_study_in_postgresql_though_one_is_killed(toy: Project, tmp_path: Path, url: str) -> None:
    write_spec(toy, {"lr": "tag(log, interval(0.001, 0.1))"}, sampler="tpe", trials=5)
    remote, hold, counted = make_remote(toy, tmp_path), tmp_path / "hold", tmp_path / "counted"
    hold.touch()
    env = {"STORAGE": url, "TOY_HOLD": str(hold), "TOY_COUNT": str(counted)}
    clones = [clone(toy, remote, tmp_path / name) for name in ("a", "b")]
    # Both create and fill it at once.
    first, second = (
        start_sweep(one, "--remote", "origin", "--workers", "1", "--heartbeat", "1", **env) for one in clones
    )
    wait_for(lambda: count(counted) == 2, "two trainings", LONG)
    (stage,) = processes(clones[0], "train")
    os.killpg(first.pid, signal.SIGKILL)
    wait_for(lambda: is_gone(stage), "the end of all it started")
    hold.unlink()
    assert second.wait(2 * LONG) == 0, clones[1].output()
    assert (count(counted), pushed(toy)) == (6, 5)
    # A third has nothing to train, and learns all values from the study alone.
    third = clone(toy, remote, tmp_path / "c")
    assert "5 complete" in sweep_ok(third, STORAGE=url, TOY_COUNT=str(counted))
    assert not references(third.path)
    assert count(counted) == 6
    for one in clones:
        one.clean_up()
