"""Hides installed packages that a stage does not use, and that its libraries would import if they were there."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from types import ModuleType

# torchmetrics imports scipy and torchvision if they are installed, for metrics of sound and of image quality, and
# scikit-learn imports pandas. Hiding them saves a fifth of the trainer's start; benchmarks/history.md has the figures.
UNUSED = {"train": ("scipy", "torchvision"), "evaluate": ("pandas",)}


@contextmanager
def hiding(packages: Sequence[str]) -> Iterator[None]:
    """While active, packages that are not imported yet look as if they were not installed."""
    finder = _HiddenPackages(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _HiddenPackages(MetaPathFinder):
    """Answers for the finders after it that a package is not there, neither to import nor to ask for its version."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Refuse to import a hidden package."""
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"{name} is not used by this stage and hidden from it", name=name)
        return None

    def find_distributions(self, context: DistributionFinder.Context) -> Iterator[Distribution]:
        """Refuse to give the version of a hidden package."""
        if context.name in self.packages:
            raise PackageNotFoundError(context.name)
        return iter(())
