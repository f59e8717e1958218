import subprocess
import sys

import pytest

from src.guard.unused import UNUSED
from tests.conftest import REPOSITORY


def modules_imported_by(stage: str) -> set[str]:
    program = f"import sys, {stage}; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=REPOSITORY, text=True)
    return set(printed.split())


def test_fetching_imports_neither_torch_nor_what_it_needs_for_digits_alone() -> None:
    assert modules_imported_by("stages.fetch").isdisjoint({"torch", "sklearn", "pandas", "matplotlib"})


@pytest.mark.parametrize("stage", UNUSED)
def test_a_stage_starts_without_what_it_does_not_use(stage: str) -> None:
    program = (
        "import sys; from src.guard.unused import UNUSED, hiding\n"
        f"with hiding(UNUSED[{stage!r}]): import stages.{stage}\n"
        "print(*sys.modules)"
    )
    imported = set(subprocess.check_output([sys.executable, "-c", program], cwd=REPOSITORY, text=True).split())
    assert "torch" in imported
    assert imported.isdisjoint(UNUSED[stage])


def test_neither_evaluating_nor_serving_imports_a_trainer() -> None:
    imported = modules_imported_by("stages.evaluate")
    # What serving needs is part of it.
    assert imported >= {"torch", "src.model.network", "src.evaluate.scores"}
    assert imported.isdisjoint({"pytorch_lightning", "torchmetrics", "torchvision"})
