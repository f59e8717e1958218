"""Hides installed packages that a stage does not use, but that its libraries would import."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from types import ModuleType

# torchmetrics imports them if they are installed, for metrics of sound, image quality and text. Hiding them saves a
# fifth of the trainer's startup; benchmarks/history.md has the figures.
UNUSED = {"train": ("scipy", "torchvision", "transformers")}


def import_lightly(module: str, packages: Sequence[str]) -> ModuleType:
    """Import a module with these packages hidden from its libraries, unless the module itself imports one."""
    with suppress(ModuleNotFoundError), hiding(packages):
        return import_module(module)
    return import_module(module)


@contextmanager
def hiding(packages: Sequence[str]) -> Iterator[None]:
    """Make packages that are not imported yet appear not to be installed within the context."""
    hidden = [name for name in packages if name not in sys.modules]
    # With None in sys.modules, Python neither imports nor finds the module.
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
    """Reports that hidden packages have no version, before other finders are asked."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, *_: object) -> None:
        """Leave imports to the other finders."""

    def find_distributions(self, context: DistributionFinder.Context) -> Iterator[Distribution]:
        """Raise an error for a hidden package."""
        if context.name in self.packages:
            raise PackageNotFoundError(context.name)
        return iter(())
