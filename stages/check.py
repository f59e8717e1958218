"""Stage check: finds what would make the other stages fail, while the last results still exist."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.files import write_text
from src.core.run import Facts, Run
from src.guard.driver import check_accelerator
from src.guard.preflight import cache_folder, check_disk, check_limits, check_not_linked, check_packages, check_sizes
from src.mnist.model.accelerator import chosen_accelerator
from src.mnist.model.params import Params, check_params
from src.mnist.model.processes import Processes, check_processes, chosen_processes

MARKER = Path("data/checked")
OUTPUTS = tuple(Path(name) for name in ("data", "models", "metrics", "plots", "receipts"))
LOGS = Path("logs")
REQUIREMENTS = Path("requirements.txt")


def main(run: Run) -> Facts:
    """Check params.yaml and this machine."""
    check_not_linked(OUTPUTS)
    check_packages(REQUIREMENTS)
    accelerator, processes = chosen_accelerator(os.environ), chosen_processes(os.environ)
    check_limits(processes.local_count)
    params = Params.model_validate(run.params)
    check(params, accelerator, processes, [*OUTPUTS, LOGS, cache_folder()], MARKER)
    return Facts()


def check(params: Params, accelerator: str, processes: Processes, folders: Iterable[Path], marker: Path) -> None:
    """Write a marker, always the same, if nothing prevents the other stages from running.

    Args:
        params: Hyperparameters.
        accelerator: Lightning's name of the device that training will use.
        processes: The processes that will train.
        folders: Where the stages and DVC will write.
        marker: A file that the other stages depend on. It never changes, so it never makes them run.

    Raises:
        UserError: If something does; the marker stays as it was.
    """
    check_sizes(params)
    check_processes(processes, params.shards)
    check_accelerator(accelerator, os.environ)
    for folder in folders:
        check_disk(folder)
    write_text(marker, "params.yaml is sound, and this machine can run it\n")


def check_settings(settings: Iterable[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Check params before anything runs with them, as the runs would; this machine plays no part.

    Args:
        settings: All params of each run.
        where: Who asks for them, for messages.

    Returns:
        The same in the schema's order and types.

    Raises:
        UserError: If a run would be refused.
    """
    found = []
    for values in settings:
        params = check_params(values, where)
        try:
            check_sizes(params)
        except UserError as error:
            raise UserError(f"{where}: a run is not possible: {error}") from error
        found.append(params.model_dump())
    return found


if __name__ == "__main__":
    # `python -m stages.check WHERE`: a JSON list of params on standard input, and checked on standard output.
    try:
        print(json.dumps(check_settings(json.load(sys.stdin), *sys.argv[1:])))
    except UserError as error:
        sys.exit(str(error))
