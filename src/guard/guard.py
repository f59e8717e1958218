"""Runs a stage so that dvc.lock records what actually ran.

In this order, each line for the sake of those after it:

 1. `stages/__main__.py` records what it opens, compiles the project's code from the source as it is now, and undoes
    what a parent has set: signals that it ignores, streams that it has closed.
 2. Variables that would make a library hang or fail are removed.
 3. Signals end the stage from here on, never with success.
 4. The system ends it with the `dvc` that started it: nobody else would store its results.
 5. It takes its GPUs. If several processes are to run the stage, torchrun starts them, and each begins at line 1.
 6. It takes the stage's lock. Only one process runs a stage here, together with those that torchrun starts beside it.
 7. dvc.yaml says what the stage may read and write. DVC hashes that only after the stage has ended, so:
 8. every input gets a stamp (size, times, inode), the file system's clock moves on, and every input is hashed.
 9. Results that the stage builds on must be what their receipts say, and packages must be those that are pinned.
10. Only now is the stage imported. Whatever it opens is recorded, with its stamp at that moment.
11. Stamps are compared, and what was read with what is declared: code was imported by now,
12. then the stage runs, and may ask for that comparison as often as it likes, such as before every epoch.
13. At its end the comparison is made again, also of what was written with the declared outputs.
14. The receipt records inputs as hashed, outputs as written, versions and machine.
15. Stamps are compared a last time, and the process ends at once: any later edit contradicts the receipt.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from src.core.errors import UserError
from src.core.files import written
from src.core.receipt import receipt_path
from src.core.run import ReceiptFields, Run
from src.guard.environment import Devices, chosen_devices, sanitize
from src.guard.explain import explain
from src.guard.gpus import take_gpus
from src.guard.inputs import Inputs
from src.guard.launcher import launch, report
from src.guard.lock import locked
from src.guard.machine import machine
from src.guard.opened import Opened
from src.guard.pins import PINS, check_installed, read_pins
from src.guard.receipts import check_recordable, check_results_before, is_locked, write_receipt
from src.guard.signals import ending_on_signals
from src.guard.stage import DVC_FILE, read_lock, read_stages
from src.guard.starter import end_with_starter, is_launched

LOCKS = Path("logs")
# The stages that compute on a GPU, and the one that several processes may run together.
COMPUTING, SHARED = ("train", "evaluate"), "train"
# How long to wait for the lock of a process that is about to end.
LOCK_SECONDS = 5.0
LOCKED = "is running this stage here; wait for it or end it, then run again"


def run_stage(name: str, load: Callable[[], Callable[[Run], ReceiptFields]], opened: Opened) -> int:
    """Run a stage in the current process, which is the main thread of a program started for it.

    Args:
        name: Its name in dvc.yaml.
        load: Imports the stage and returns its main function.
        opened: Records what this process opens.

    Returns:
        Exit code: 0 on success; 128 + number after a signal; 1 after one line on stderr.
    """
    sanitize(os.environ)
    stopped = f"{name}: stopped before it was done"
    # The process that has started this one says why.
    with ending_on_signals("" if is_launched() else stopped) as received:
        try:
            devices = chosen_devices(os.environ, is_shared=name == SHARED)
            end_with_starter(name)
            # torchrun's processes come with theirs.
            if name in COMPUTING and devices.rank is None and devices.accelerator != "cpu":
                take_gpus(os.environ, devices.processes if name == SHARED else 1)
            if name == SHARED and devices.processes > 1 and devices.rank is None:
                code = launch(name, devices.processes)
            else:
                # The others write nothing, and can do nothing before process 0, which has the lock, is connected.
                others = nullcontext() if devices.rank else locked(LOCKS / f"{name}.lock", LOCKED, LOCK_SECONDS)
                with others:
                    _run(name, devices, load, opened)
                code = 0
        except UserError as error:
            code = _fail(f"{name}: {error}")
        except SystemExit as stop:
            # An exit from inside a stage is never a success, not even Lightning's exit code 0 after a signal.
            code = _fail(f"{name}: {stop.code}" if isinstance(stop.code, str) else stopped, stop.code)
        except Exception as error:
            # An error while a signal ends the stage, such as a write to a closed terminal, is not a bug.
            line = "" if received else explain(error)
            if line is None:
                raise
            code = _fail(f"{name}: {line}" if line else stopped)
        return 128 + received[0] if received else code


def _run(name: str, devices: Devices, load: Callable[[], Callable[[Run], ReceiptFields]], opened: Opened) -> None:
    """Run the stage between its stamps; process 0 writes the receipt."""
    with opened.paused():
        stages, lock, machine_facts = read_stages(), read_lock(), machine()
    if name not in stages:
        raise UserError(f"{DVC_FILE}: expected one of the stages {', '.join(stages)}, got {name!r}")
    inputs = Inputs(stages[name], opened)
    check_recordable(inputs)
    with opened.paused():
        check_results_before(inputs, stages, lock)
        if PINS in inputs.deps and (others := check_installed(read_pins(Path(PINS)), os.environ)):
            machine_facts["unpinned"] = others
    main = load()
    inputs.check()
    identity = inputs.identity() | {f"machine: {key}": str(value) for key, value in machine_facts.items()}
    run = Run(
        inputs.params,
        identity,
        devices.accelerator,
        devices.processes,
        check_unchanged=inputs.check,
        is_locked=is_locked(inputs, lock),
    )
    try:
        fields = main(run)
        inputs.check()
        inputs.check_written()
        with opened.paused():
            if not devices.rank:
                write_receipt(inputs, fields, machine_facts)
        inputs.check()
    except BaseException:
        # Where SIGCHLD is ignored, DVC takes every exit code for a success, but it misses an output.
        receipt, outs = receipt_path(name), inputs.stage.outs
        for out in [receipt] if receipt in outs else outs:
            if os.fspath(Path.cwd() / out) in written:
                Path(out).unlink(missing_ok=True)
        raise


def _fail(line: str, code: object = 1) -> int:
    """Say why; returns the exit code, which is never 0."""
    report(line)
    return code if isinstance(code, int) and code else 1
