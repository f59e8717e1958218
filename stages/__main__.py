"""Runs one stage under its guard: `python -m stages train`.

DVC calls this file as a script. Python takes a script from its source, never from a bytecode cache, and here `src` and
`stages` are imported the same way: Python would take a cached file for up to date if the source was edited within the
second to the same size.
"""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[1]
# Neither PYTHON* variables nor the current directory decide what is imported: a torch.py here would be torch.
ISOLATED = "-EP"


class ProjectFinder(MetaPathFinder):
    """Finds `src` and `stages` here and nowhere else."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's file, to be loaded from its source."""
        if name.partition(".")[0] not in ("src", "stages"):
            return None
        spec = PathFinder.find_spec(name, path or [str(ROOT)])
        if spec and spec.origin:
            spec.loader = SourceLoader(name, spec.origin)
        return spec


class SourceLoader(SourceFileLoader):
    """Compiles what it reads, and keeps the bytes for the guard.

    Attributes:
        sources: Content of every file that was imported, by its path.
    """

    sources: dict[str, bytes] = {}  # noqa: RUF012 - one for the process, as sys.modules is

    def get_code(self, fullname: str) -> CodeType:
        """Code of the source as it is now."""
        self.sources[self.path] = self.get_data(self.path)
        return self.source_to_code(self.sources[self.path], self.path)


def main(stage: str) -> int:
    """Run a stage of the pipeline in the current directory; returns the exit code."""
    # Not at the top: the finder has to be there before anything of the project is imported. What is imported here runs
    # every stage and is a dependency of stage check.
    import stages  # noqa: F401
    from src.core.run import Facts, Run
    from src.guard.guard import guarded

    def load() -> Callable[[Run], Facts]:
        # An import leaves no garbage. Looking for some takes almost a second of the trainer's start.
        gc.disable()
        try:
            return import_module(f"stages.{stage}").main
        finally:
            gc.enable()

    return guarded(stage, load, SourceLoader.sources)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected the name of one stage: python -m stages train")
    if not (sys.flags.ignore_environment and sys.flags.safe_path):
        os.execv(sys.executable, [sys.executable, ISOLATED, __file__, sys.argv[1]])
    sys.meta_path.insert(0, ProjectFinder())
    code = main(sys.argv[1])
    # Where the terminal is closed, there is nothing left to say.
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # At once: the interpreter takes a second or two to end, and an edit in that time would be locked as if it had run.
    os._exit(code)
