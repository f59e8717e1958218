"""What stands around a stage, so that dvc.lock records what really ran.

One process at a time runs a stage; it ends with the `dvc` that started it, and never successfully after a signal; and
it fails if its inputs changed while it ran, because DVC hashes them only when the command has ended.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from src.core.errors import UserError
from src.core.reading import check_read, expecting
from src.core.run import Facts, Run
from src.guard.advice import advice_on
from src.guard.inputs import check_unchanged, declared_stages, read_inputs
from src.guard.machine import machine
from src.guard.receipts import check_imports, check_receipts_before, imported_files, is_locked, write_receipt
from src.guard.signals import ending_on_signals
from src.guard.surroundings import settle

LOCKS = Path("logs")
# How long a process that is about to end may keep its lock before the next one gives up waiting for it.
LOCK_SECONDS = 5.0
POLL_SECONDS = 0.5


def guarded(stage: str, load: Callable[[], Callable[[Run], Facts]], sources: Mapping[str, bytes]) -> int:
    """Run a stage in the current process, which is the main thread of a program started for it.

    Args:
        stage: Its name in dvc.yaml.
        load: Imports the stage and returns what does the work. It is called once the inputs are noted.
        sources: Content of every file of the project that was imported, by absolute path; grows meanwhile.

    Returns:
        Exit code: 0 if all went well; 128 + number after a signal; 1 after one line on stderr.
    """
    settle(os.environ)
    stopped = f"{stage}: stopped before it was done"
    with ending_on_signals(stopped) as received:
        try:
            _end_with_dvc()
            with _alone(stage):
                _run(stage, load, sources)
                code = 0
        except UserError as error:
            code = _fail(f"{stage}: {error}")
        except SystemExit as stop:
            # Whatever stops a stage from inside, Lightning's exit code 0 after a signal included, is no success.
            code = _fail(stopped, stop.code)
        except Exception as error:
            # What goes wrong while a signal ends the stage, such as a word to a closed terminal, is no defect.
            advice = stopped if received else advice_on(error)
            if advice is None:
                raise
            code = _fail(f"{stage}: {advice}")
        return 128 + received[0] if received else code


def _run(stage: str, load: Callable[[], Callable[[Run], Facts]], sources: Mapping[str, bytes]) -> None:
    """Run the stage between two looks at its inputs, and leave its receipt.

    Raises:
        UserError: If an input is missing or changed meanwhile, or dvc.yaml or dvc.lock do not tell the truth.
    """
    stages = declared_stages()
    if stage not in stages:
        raise UserError(f"dvc.yaml: expected one of the stages {', '.join(stages)}, got {stage!r}")
    declaration = stages[stage]
    check_receipts_before(declaration, stages)
    before, surroundings = read_inputs(declaration), machine()
    runner = imported_files(sources)
    origin = before.by_name() | {f"machine: {name}": str(value) for name, value in surroundings.items()}
    with expecting(before.md5_by_path):
        main = load()
        _check_sources(sources)
        check_unchanged(declaration, before)
        run = Run(
            before.params,
            origin,
            check_unchanged=lambda: check_unchanged(declaration, before),
            is_locked=lambda: is_locked(declaration, before),
        )
        facts = main(run)
        _check_sources(sources)
    check_imports(declaration, imported_files(sources) - runner)
    write_receipt(declaration, before, facts, surroundings)
    # Last of all: what is edited from here on until DVC hashes it, the receipt contradicts.
    check_unchanged(declaration, before)


def _check_sources(sources: Mapping[str, bytes]) -> None:
    """Hold the code that was compiled against the noted inputs: it may have been edited and edited back."""
    for path, content in sources.items():
        check_read(os.path.relpath(path), content)


def _end_with_dvc() -> None:
    """Watch the `dvc` that started this process, if one did; without it, nobody would take the results."""
    if "DVC_STAGE" not in os.environ:
        return
    started_by = _ancestors()
    # Children are in the process group of their parent unless that is gone and something else adopted them.
    if os.getpgid(started_by[-1]) != os.getpgrp():
        raise UserError("dvc ended before the stage began; run `dvc repro` again")

    def watch() -> None:
        while _ancestors() == started_by:
            time.sleep(POLL_SECONDS)
        # At once, whatever the process is doing; what it has done so far is safe in a checkpoint.
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _ancestors() -> list[int]:
    """Ids of this process's parents up to `dvc`: it runs commands through a shell, and some shells stay in between."""
    parent = os.getppid()
    try:
        shell = psutil.Process(parent)
        return [parent, shell.ppid()] if shell.cmdline()[-2:-1] == ["-c"] else [parent]
    except psutil.Error:
        return [os.getppid()]


@contextmanager
def _alone(stage: str) -> Iterator[None]:
    """Hold the stage's lock; the kernel lets go of it with the process, however that ends."""
    LOCKS.mkdir(exist_ok=True)
    with (LOCKS / f"{stage}.lock").open("a+") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise UserError(
                        f"process {file.read()} is running this stage here; wait for it or end it, then run again"
                    ) from None
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _fail(line: str, code: object = 1) -> int:
    """Say why; returns the exit code, which is never 0."""
    # Nobody is left to read it where the terminal is closed.
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the guard speaks for the stage
    return code if isinstance(code, int) and code else 1
