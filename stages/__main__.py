"""Runs one stage under its guard: `python -m stages train`.

DVC runs this file as a script. Python compiles a script from source, never from a bytecode cache, and this file imports
`src` and `stages` the same way, because a bytecode cache misses an edit within the same second that keeps the size.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

if sys.version_info < (3, 11):  # noqa: UP036 - DVC runs whichever `python` is first on PATH
    sys.exit(f"stages: Python 3.11 or newer is needed, {sys.executable} is older; activate the environment")
ROOT = Path(__file__).resolve().parents[1]
# Keeps PYTHON* variables, the current directory and user packages out of imports; a torch.py here would be imported as
# torch.
ISOLATED = "-I"


class ProjectFinder(MetaPathFinder):
    """Finds `src` and `stages` only in this repository."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module, to be loaded from its source."""
        if name.partition(".")[0] not in ("src", "stages"):
            return None
        spec = PathFinder.find_spec(name, path or [str(ROOT)])
        if spec and spec.origin and spec.origin.endswith(".py"):
            spec.loader = SourceLoader(name, spec.origin)
        return spec


class SourceLoader(SourceFileLoader):
    """Compiles the source and ignores bytecode caches."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the current source."""
        return self.source_to_code(self.get_data(self.path), self.path)


def main(stage: str) -> int:
    """Run a stage of the pipeline in the current directory and return the exit code."""
    # Imported here because the finder must be installed first. These modules are part of every stage, and dependencies
    # of stage check.
    from src.guard.opened import recording

    with recording(Path.cwd()) as opened:
        import stages  # noqa: F401
        from src.core.process import prepare_process
        from src.core.run import ReceiptFields, Run
        from src.guard.guard import run_stage
        from src.guard.unused import UNUSED, import_lightly

        prepare_process()

        def load() -> Callable[[Run], ReceiptFields]:
            # Objects created by imports are permanent; scanning them for garbage would take more than a second.
            gc.disable()
            try:
                return import_lightly(f"stages.{stage}", UNUSED.get(stage, ())).main
            finally:
                gc.freeze()
                gc.enable()

        return run_stage(stage, load, opened)


if __name__ == "__main__":
    # Until the guard handles signals, Ctrl-C ends this process without a traceback, like any other signal.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if len(sys.argv) != 2:
        sys.exit("expected the name of one stage: python -m stages train")
    # Inputs are hashed in the current directory, but code is imported from ROOT.
    if not ROOT.samefile(Path.cwd()):
        sys.exit(f"{sys.argv[1]}: run it in {ROOT}, where its code is; here, in {Path.cwd()}, other files are hashed")
    if not sys.flags.isolated:
        os.execv(sys.executable, [sys.executable, ISOLATED, __file__, sys.argv[1]])
    sys.meta_path.insert(0, ProjectFinder())
    try:
        code = main(sys.argv[1])
    except Exception as error:
        from src.guard.explain import explain

        code = 1
        # Either the guard lacks a package, or the error is unexpected.
        if line := explain(error):
            print(f"{sys.argv[1]}: {line}", file=sys.stderr)
        else:
            sys.excepthook(*sys.exc_info())
    # The terminal may be closed.
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Exit immediately: the interpreter would take a second or two, in which libraries print messages, and DVC would
    # record an edit made in that time as if it had run.
    os._exit(code)
