"""Runs a stage so that dvc.lock records what actually ran.

The steps depend on their order:

 1. `stages/__main__.py` records every file that it opens, compiles the project's code from the current source, and
    restores signals that a parent has ignored and streams that it has closed.
 2. Variables that would make a library hang or fail are removed.
 3. From here on, signals end the stage, never with success.
 4. The stage ends when the `dvc` that started it ends, since no other process would store its results.
 5. It takes its GPUs. If several processes should run the stage, torchrun starts them, and each begins at step 1.
 6. It takes the stage's lock. Only one process runs a stage here, together with the other processes of torchrun.
 7. dvc.yaml declares what the stage may read and write. DVC hashes inputs only after the stage has ended; therefore
 8. every input is stamped (size, times, inode), the file system's clock advances, and every input is hashed.
 9. Results that the stage builds on must match their receipts, and packages must match their pins.
10. Only now is the stage imported. Every file that it opens is recorded with its current stamp.
11. Stamps are compared, and so are files that were read or written with the declared ones; the code is imported by now.
12. The stage runs. It may repeat this comparison at any time, such as before every epoch.
13. When it ends, the comparison is repeated.
14. The receipt records inputs as hashed, outputs as written, versions and machine.
15. Stamps are compared a last time, and the process ends immediately: any later edit contradicts the receipt.
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
from src.guard.receipts import changed_inputs, check_recordable, check_results_before, forget_runs, write_receipt
from src.guard.signals import ending_on_signals
from src.guard.stage import DVC_FILE, read_lock, read_stages
from src.guard.starter import end_with_starter, is_launched

LOCKS = Path("logs")
# Stages that may use a GPU, and the stage that several processes may run together.
COMPUTING, SHARED = ("train", "evaluate"), "train"
# Timeout for the lock of a process that is about to end.
LOCK_SECONDS = 5.0
LOCKED = "is running this stage here; wait for it or end it, then run again"
STOPPED = "stopped before it finished"


def run_stage(name: str, load: Callable[[], Callable[[Run], ReceiptFields]], opened: Opened) -> int:
    """Run a stage in the main thread of the current process, which was started for it.

    Args:
        name: Name of the stage in dvc.yaml.
        load: Imports the stage and returns its main function.
        opened: Records what this process opens.

    Returns:
        Exit code: 0 on success; 128 + number after a signal; 1 after one line on stderr.
    """
    sanitize(os.environ)
    # The launcher prints the reason for all its processes.
    with ending_on_signals("" if is_launched() else f"{name}: {STOPPED}") as received:
        code = 1
        # A signal may interrupt a report; further signals are then ignored.
        try:
            code = _run_or_report(name, load, opened, received)
        except SystemExit:
            report(f"{name}: {STOPPED}")
        return 128 + received[0] if received else code


def _run_or_report(
    name: str, load: Callable[[], Callable[[Run], ReceiptFields]], opened: Opened, received: list[int]
) -> int:
    """Run the stage in one or several processes and return the exit code; report errors that have an explanation."""
    try:
        devices = chosen_devices(os.environ, is_shared=name == SHARED)
        end_with_starter(name)
        # Processes of torchrun already have their GPUs.
        if name in COMPUTING and devices.rank is None and devices.accelerator != "cpu":
            take_gpus(os.environ, devices.processes if name == SHARED else 1)
        if name == SHARED and devices.processes > 1 and devices.rank is None:
            return launch(name, devices.processes)
        # Other ranks write nothing, and wait until process 0, which holds the lock, is connected.
        others = nullcontext() if devices.rank else locked(LOCKS / f"{name}.lock", LOCKED, LOCK_SECONDS)
        with others:
            _run(name, devices, load, opened)
        return 0
    except SystemExit as stop:
        # Exiting within a stage is never a success, even if Lightning exits with code 0 after a signal.
        report(f"{name}: {stop.code if isinstance(stop.code, str) else STOPPED}")
        return stop.code if isinstance(stop.code, int) and stop.code else 1
    except Exception as error:
        # An error while a signal ends the stage, such as a write to a closed terminal, is not a bug.
        line = STOPPED if received else explain(error)
        if line is None:
            raise
        report(f"{name}: {line}")
        return 1


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
    main, changed = load(), changed_inputs(inputs, lock)
    inputs.check()
    identity = inputs.identity() | {f"machine: {key}": str(value) for key, value in machine_facts.items()}
    run = Run(
        inputs.params,
        identity,
        devices.accelerator,
        devices.processes,
        check_unchanged=inputs.check,
        changed=changed,
        is_locked=not changed,
    )
    try:
        fields = main(run)
        inputs.check()
        with opened.paused():
            if not devices.rank:
                write_receipt(inputs, fields, machine_facts)
                # DVC has the result: it was lost, or forced to be made again, perhaps because it is false.
                if not changed:
                    forget_runs(inputs)
        inputs.check()
    except BaseException:
        # If SIGCHLD is ignored, DVC mistakes every exit code for a success, but it detects a missing output.
        receipt, outs = receipt_path(name), inputs.stage.outs
        for out in [receipt] if receipt in outs else outs:
            if os.fspath(Path.cwd() / out) in written:
                Path(out).unlink(missing_ok=True)
        raise
