import subprocess
import sys

import pytest

from src.guard.unused import UNUSED
from tests.conftest import REPOSITORY

# Packages that the stage must not import, and modules that it must: what serving a model needs is part of evaluate.
TRAINERS = ("pytorch_lightning", "torchmetrics", "torchvision")
IMPORTS = {
    "train": (UNUSED["train"], ("torch",)),
    "evaluate": ((*UNUSED["evaluate"], *TRAINERS, "matplotlib"), ("torch", "src.model.network", "src.evaluate.scores")),
    "fetch": (("torch", "sklearn", "pandas", "matplotlib"), ()),
}


def test_every_stage_from_which_packages_are_hidden_is_tried() -> None:
    assert UNUSED.keys() <= IMPORTS.keys()


@pytest.mark.parametrize("stage", IMPORTS)
def test_a_stage_starts_without_what_it_does_not_use(stage: str) -> None:
    program = (
        "import sys; from src.guard.unused import UNUSED, hiding\n"
        f"with hiding(UNUSED.get({stage!r}, ())): import stages.{stage}\n"
        "print(*sys.modules)"
    )
    imported = set(subprocess.check_output([sys.executable, "-c", program], cwd=REPOSITORY, text=True).split())
    absent, present = IMPORTS[stage]
    assert imported.isdisjoint(absent)
    assert imported.issuperset(present)
