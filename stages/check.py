"""Stage check: finds problems that would make the other stages fail, while the last results still exist."""

import ast
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from src.core.errors import UserError
from src.core.files import is_within, write_text
from src.core.process import prepare_process
from src.core.receipt import PARAMS_FILE
from src.core.run import ReceiptFields, Run
from src.guard.code import check_code
from src.guard.gpus import take_gpus, visible_gpus
from src.guard.pins import PINS, check_installed, format_pins, pinned_versions, read_requirements
from src.guard.preflight import (
    cache_folder,
    check_disk,
    check_limits,
    check_not_linked,
    check_other_folders,
)
from src.guard.stage import DVC_FILE, Stage, read_stages
from src.mnist.check.sizes import CLASS_COUNTS, check_processes, check_sizes, needs
from src.mnist.model.params import EvaluateParams, FetchParams, Params, TrainParams, check_params

MARKER = Path("data/checked")
LOGS = Path("logs")
REQUIREMENTS, LOCK = Path("requirements.txt"), Path("requirements.lock")
# Packages in requirements.txt that compute no output. The versions of all others are inputs of train and evaluate.
TOOLS = {
    "dvc", "hydra-core", "jinja2", "nvidia-ml-py", "optuna", "optuna-dashboard", "packaging", "pathspec", "plotly",
    "pooch", "psutil", "pydantic", "pyyaml", "requests", "rich", "ruamel-yaml", "ruamel-yaml-clib", "scmrepo", "tqdm",
    "urllib3",
}  # fmt: skip
SCHEMA = "src/mnist/model/params.py"
SCHEMAS: dict[str, type[BaseModel]] = {"fetch": FetchParams, "train": TrainParams, "evaluate": EvaluateParams}
# Code whose edits may break training or evaluation. Params are left out, because a rehearsal takes seconds, which every
# change of the recipe would then take longer.
REHEARSED = {"src/mnist/data", "src/mnist/model", "src/mnist/train", "src/mnist/evaluate", "stages"}
# Other names that may follow `params.`, as for dictionaries and lists.
NO_PARAMS = {*dir(BaseModel), *dir(dict), *dir(list)}
# File and dictionary that implement the choices of a param.
REGISTRIES = {
    "architecture": "src/mnist/model/network.py: ARCHITECTURES",
    "dataset": "stages/fetch.py: WRITERS",
    "schedule": "src/mnist/train/schedule.py: SCHEDULES",
}


def main(run: Run) -> ReceiptFields:
    """Write a marker if params.yaml, the code and this machine allow the other stages to run."""
    stages = read_stages()
    outs = (Path(out).parts for stage in stages.values() for out in stage.outs)
    outputs = [Path(folder) for folder in sorted({folder for folder, *inner in outs if inner})]
    check_not_linked(outputs)
    check_other_folders(Path.cwd())
    wanted = read_requirements(REQUIREMENTS)
    for package in wanted:
        # Raises PackageNotFoundError if it is not installed.
        version(package)
    locked = pinned_versions(LOCK, wanted)
    pins = {name: pinned for name, pinned in locked.items() if name not in TOOLS}
    check_installed(pins, os.environ)
    # This stage last: the files of the others are its dependencies, too.
    check_additions(stages, check_code(reversed(stages.values())))
    params = check_params(run.params, PARAMS_FILE)
    check_sizes(params)
    check_processes(run.processes, params.shards)
    needed = needs(sum(CLASS_COUNTS.get(params.dataset, ())), run.processes)
    check_limits(needed)
    check_gpus(run.accelerator, run.processes)
    for folder in (*outputs, LOGS, cache_folder()):
        check_disk(folder, needed["disk"])
    if not REHEARSED.isdisjoint(run.changed):
        rehearse(stages, params, run.accelerator)
    # The other stages depend on the marker, whose content is constant, so it never makes them run.
    write_text(MARKER, "params.yaml is sound, and this machine can run it\n")
    write_text(Path(PINS), format_pins(pins))
    return ReceiptFields()


def check_additions(stages: Mapping[str, Stage], trees: Mapping[Path, ast.Module]) -> None:
    """Check that names which must be in two places are in both; the error names the file to edit.

    These are params, since DVC passes only declared ones, the choices of some params, and the params that code uses.
    """
    _check_has(f"{DVC_FILE}: stages", stages, "stages/check.py: SCHEMAS", SCHEMAS)
    for stage, schema in SCHEMAS.items():
        place = f"{SCHEMA}: {schema.__name__}"
        declared = f"{DVC_FILE}: stage {stage}", stages[stage].params or ()
        _check_has(*declared, place, schema.model_fields)
        _check_has(place, schema.model_fields, *declared)
        for path in (Path(f"stages/{stage}.py"), *sorted(Path(f"src/mnist/{stage}").rglob("*.py"))):
            used = _used(trees[path]) - NO_PARAMS
            _check_has(
                place, schema.model_fields, f"`params` in {path}", used, ", or rename that if it is something else"
            )
    for param, registry in REGISTRIES.items():
        choices = get_args(Params.model_fields[param].annotation)
        _check_has(registry, _keys(trees[Path(registry.partition(":")[0])]), f"{SCHEMA}: {param}", choices)


def _used(tree: ast.Module) -> set[str]:
    """Names that follow `params.` or `self.params.` in a file."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name("params") | ast.Attribute(ast.Name("self"), "params"), name):
                found.add(name)
    return found


def _keys(tree: ast.Module) -> set[str]:
    """Texts that are keys of any dictionary in a file."""
    keys = (key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys)
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def _check_has(place: str, names: Iterable[str], other_place: str, wanted: Iterable[str], or_else: str = "") -> None:
    if lacking := sorted(set(wanted) - set(names)):
        raise UserError(f"{place} lacks {', '.join(lacking)}, which {other_place} has; add it to the former{or_else}")


def check_gpus(accelerator: str, processes: int) -> None:
    """Try the GPU that training would use, if there is one or one is requested; each process needs its own."""
    if accelerator == "cpu" or (accelerator == "auto" and not visible_gpus(os.environ)):
        return
    # The GPUs are released when this stage ends.
    take_gpus(os.environ, processes)
    # Imported here because it takes seconds, which would be wasted on a machine without a GPU.
    from src.mnist.model.device import try_cuda

    try_cuda()


def rehearse(stages: Mapping[str, Stage], params: Params, accelerator: str) -> None:
    """Train, evaluate and resume with 600 random images in a temporary folder, with links to all other dependencies.

    Raises:
        UserError: If a stage raises it, or if an interrupted training resumes to another model.
    """
    # Imported here because it takes seconds, which would be wasted on code that passed before.
    import numpy as np

    from src.mnist.data.dataset import DATA_DIR, IMAGE_SHAPE, NUM_CLASSES, Examples, write_examples
    from src.mnist.model.weights import MODEL_PATH
    from src.mnist.train.checkpoint import Checkpoints
    from stages import evaluate, train

    labels = (np.arange(600) % NUM_CLASSES).astype(np.uint8)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *IMAGE_SHAPE), np.uint8)
    # Two whole batches, which a GPU records, and a smaller one in each epoch. Code may need more than a few epochs.
    epochs, batch_size = min(params.epochs, 10), 128 // params.shards * params.shards
    scaled = params.model_copy(update={"epochs": epochs, "batch_size": batch_size, "val_fraction": 0.5})

    def fit(run: str, before_epoch: Callable[[], None] = lambda: None) -> bytes:
        checkpoints = Checkpoints(LOGS, {"run": run})
        train.train(scaled, DATA_DIR, train.Outputs(), accelerator, checkpoints, before_epoch)
        return MODEL_PATH.read_bytes()

    with in_temporary_folder(stages), redirect_stdout(io.StringIO()):
        write_examples(DATA_DIR, Examples(images, labels), Examples(images, labels))
        try:
            whole = fit("whole")
            evaluate.evaluate(scaled, DATA_DIR, MODEL_PATH, evaluate.Outputs(), accelerator)
            with suppress(IndexError):
                fit("interrupted", ([None] * (epochs // 2)).pop)
            if fit("interrupted") != whole:
                raise UserError(
                    f"training that is interrupted after {epochs // 2} of {epochs} epochs resumes to another model; "
                    "keep what later steps depend on in the state of the network, the optimizer or a callback"
                )
        except UserError as error:
            raise UserError(f"the edited code fails with random images: {error}") from error


@contextmanager
def in_temporary_folder(stages: Mapping[str, Stage]) -> Iterator[None]:
    """Change to a folder with links to what no stage writes but some depend on, and folders for all outputs."""
    outs = {out for stage in stages.values() for out in stage.outs}
    deps = {dep for stage in stages.values() for dep in stage.deps}
    # Not folders with outputs in them, such as metrics, which would be written through the link.
    given = {dep for dep in deps if not is_within(dep, outs) and not any(is_within(out, {dep}) for out in outs)}
    project = Path.cwd()
    # Removed from elsewhere, since its folders are then opened by their names alone, which the project has, too.
    with chdir(tempfile.gettempdir()), tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in sorted(outs | given):
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            # A dependency may be in another one.
            if name in given and not path.exists():
                path.symlink_to(project / path)
        yield


def check_settings(settings: Iterable[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Check params in advance, as their runs would, but independently of this machine.

    Args:
        settings: All params of each run.
        where: Source of the params in error messages.

    Returns:
        The params in the schema's order and types.

    Raises:
        UserError: If a run would be rejected.
    """
    found = [check_params(values, where) for values in settings]
    try:
        for params in found:
            check_sizes(params)
    except UserError as error:
        raise UserError(f"{where}: a run is not possible: {error}") from error
    return [params.model_dump() for params in found]


if __name__ == "__main__":
    # `python -m stages.check WHERE` reads a JSON list of params from standard input and writes the checked list to
    # standard output.
    prepare_process()
    try:
        print(json.dumps(check_settings(json.load(sys.stdin), *sys.argv[1:])))
    except UserError as error:
        sys.exit(str(error))
