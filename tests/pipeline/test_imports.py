import sys
from pathlib import Path

import pytest

from src.guard.unused import UNUSED
from tests.faults.project import Project

# Packages that the stage must not import, and modules that it must: what serving a model needs is part of evaluate.
TRAINERS = ("pytorch_lightning", "torchmetrics")
SERVING = ("torch", "src.mnist.model.network", "src.mnist.evaluate.scores")
IMPORTS = {
    "train": ((*UNUSED["train"], "pandas"), ("torch",)),
    "evaluate": ((*TRAINERS, "matplotlib"), SERVING),
    "fetch": (("torch", "sklearn", "pandas", "matplotlib"), ()),
}
EVALUATE = """
from pathlib import Path
outputs = stages.evaluate.Outputs(*(Path(sys.argv[1]) / name for name in vars(stages.evaluate.Outputs())))
params = stages.evaluate.EvaluateParams(threads=1, tta_shift=0)
stages.evaluate.evaluate(params, stages.evaluate.DATA_DIR, stages.evaluate.MODEL_PATH, outputs)
"""


# tests/unit/guard/test_unused.py also tests hidden packages, without torch.
@pytest.mark.slow
@pytest.mark.parametrize("stage", IMPORTS)
def test_stage_imports_no_unused_packages(stage: str, reproduced: Project, tmp_path: Path) -> None:
    program = (
        "import sys; from src.guard.unused import UNUSED, hiding\n"
        f"with hiding(UNUSED.get({stage!r}, ())): import stages.{stage}\n"
        f"{EVALUATE if stage == 'evaluate' else ''}\n"
        "print(*sys.modules)"
    )
    done = reproduced.run(sys.executable, "-c", program, str(tmp_path))
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    absent, present = IMPORTS[stage]
    assert imported.isdisjoint(absent)
    assert imported.issuperset(present)
