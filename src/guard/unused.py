"""Hides installed packages that a stage does not use, and that its libraries would import if they were there."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from types import ModuleType

# torchmetrics imports them if they are installed, for metrics of sound, of image quality and of text. Hiding them saves
# a fifth of the trainer's start; benchmarks/history.md has the figures.
UNUSED = {"train": ("scipy", "torchvision", "transformers")}


def import_lightly(module: str, packages: Sequence[str]) -> ModuleType:
    """Import a module while these packages are hidden from its libraries, unless it imports one of them itself."""
    with suppress(ModuleNotFoundError), hiding(packages):
        return import_module(module)
    return import_module(module)


@contextmanager
def hiding(packages: Sequence[str]) -> Iterator[None]:
    """While active, packages that are not imported yet look as if they were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    # What Python itself takes for a module that cannot be found, whether it is imported or only looked for.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    versions = _NoVersions(hidden)
    sys.meta_path.insert(0, versions)
    try:
        yield
    finally:
        sys.meta_path.remove(versions)
        for name in hidden:
            del sys.modules[name]


class _NoVersions(MetaPathFinder):
    """Answers for the finders after it that a package has no version."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, *_: object) -> None:
        """Leave importing to the finders after it."""

    def find_distributions(self, context: DistributionFinder.Context) -> Iterator[Distribution]:
        """Refuse to give the version of a hidden package."""
        if context.name in self.packages:
            raise PackageNotFoundError(context.name)
        return iter(())
