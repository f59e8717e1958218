"""Runs a stage so that dvc.lock records what actually ran.

Only one process at a time runs a stage, together with those that it or a launcher has started. It ends when the `dvc`
that started it ends, and never succeeds after a signal. It fails if its inputs changed while it ran, because DVC hashes
them only after the command has ended.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

from src.core.errors import UserError
from src.core.reading import check_read, expecting
from src.core.run import Facts, Run
from src.core.writing import noting_writes
from src.guard.advice import advice_on
from src.guard.environment import forget_ranks, sanitize, take_gpus
from src.guard.inputs import check_unchanged, declared_stages, read_inputs
from src.guard.launcher import other_processes
from src.guard.lock import locked
from src.guard.machine import machine
from src.guard.receipts import check_imports, check_receipts_before, imported_files, is_locked, write_receipt
from src.guard.signals import ending_on_signals
from src.guard.starter import DVC_STAGE, end_with_starter
from src.guard.streams import open_streams
from src.mnist.model.processes import Processes, check_processes, chosen_processes

LOCKS = Path("logs")
# The stage that several processes may run together.
SHARED_STAGE = "train"
# How long to wait for the lock of a process that is about to end.
LOCK_SECONDS = 5.0
LOCKED = "is running this stage here; wait for it or end it, then run again"


def guarded(stage: str, load: Callable[[], Callable[[Run], Facts]], sources: Mapping[str, bytes]) -> int:
    """Run a stage in the current process, which is the main thread of a program started for it.

    Args:
        stage: Its name in dvc.yaml.
        load: Imports the stage and returns its main function. Called after the inputs are recorded.
        sources: Content of every project file imported so far, by absolute path; grows during the run.

    Returns:
        Exit code: 0 on success; 128 + number after a signal; 1 after one line on stderr.
    """
    open_streams()
    sanitize(os.environ)
    stopped = f"{stage}: stopped before it was done"
    with ending_on_signals(stopped) as received:
        try:
            processes = _processes(stage)
            end_with_starter(processes)
            # The others write nothing, and can do nothing before process 0, which has the lock, has connected to them.
            with locked(LOCKS / f"{stage}.lock", LOCKED, LOCK_SECONDS) if processes.rank == 0 else nullcontext():
                _run(stage, processes, load, sources)
                code = 0
        except UserError as error:
            code = _fail(f"{stage}: {error}")
        except SystemExit as stop:
            # An exit from inside a stage is never a success, not even Lightning's exit code 0 after a signal.
            code = _fail(stopped, stop.code)
        except Exception as error:
            # An error while a signal ends the stage, such as a write to a closed terminal, is not a bug.
            advice = stopped if received else advice_on(error)
            if advice is None:
                raise
            code = _fail(f"{stage}: {advice}")
        return 128 + received[0] if received else code


def _processes(stage: str) -> Processes:
    """The process that runs here, among those that run the stage.

    Raises:
        UserError: If the environment contradicts itself about them, or DVC was started once for each.
    """
    processes = chosen_processes(os.environ) if stage == SHARED_STAGE else Processes()
    if processes.rank > 0 and processes.launcher != "stage" and DVC_STAGE in os.environ:
        raise UserError(
            f"{processes.launcher} started dvc once for each process, and this is {processes}; let it start "
            f"`python -m stages {stage}`, then run `dvc commit {stage}`"
        )
    if not processes.launcher:
        forget_ranks(os.environ)
    return processes


def _run(
    stage: str, processes: Processes, load: Callable[[], Callable[[Run], Facts]], sources: Mapping[str, bytes]
) -> None:
    """Run the stage between two checks of its inputs; process 0 writes the receipt.

    Raises:
        UserError: If an input is missing or changed during the run, or if dvc.yaml or dvc.lock is wrong.
    """
    stages = declared_stages()
    if stage not in stages:
        raise UserError(f"dvc.yaml: expected one of the stages {', '.join(stages)}, got {stage!r}")
    declaration = stages[stage]
    check_receipts_before(declaration, stages)
    before, machine_facts = read_inputs(declaration), machine()
    runner = imported_files(sources)
    origin = before.by_name() | {f"machine: {name}": str(value) for name, value in machine_facts.items()}
    if processes.count > 1:
        check_processes(processes, before.params["shards"])
    take_gpus(stage, processes, os.environ)
    with (
        expecting(before.md5_by_path),
        noting_writes(declaration.outs) as written,
        other_processes(stage, processes, before.params.get("threads", 1), os.environ),
    ):
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
    check_imports(declaration, before, imported_files(sources) - runner)
    if processes.rank == 0:
        write_receipt(declaration, before, facts, machine_facts, written)
    # This comes last: any edit between here and DVC's hashing contradicts the receipt.
    check_unchanged(declaration, before)


def _check_sources(sources: Mapping[str, bytes]) -> None:
    """Check the code that was compiled against the recorded inputs: it may have been edited and edited back."""
    for path, content in sources.items():
        check_read(os.path.relpath(path), content)


def _fail(line: str, code: object = 1) -> int:
    """Print why; returns the exit code, which is never 0."""
    # The terminal may be closed.
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the guard speaks for the stage
    return code if isinstance(code, int) and code else 1
