"""Stage check detects additions that are missing in a second place, and names the file to edit."""

import pytest

from src.core.run import ReceiptFields, Run
from tests.faults.project import ROOT, Project, refusal

pytestmark = pytest.mark.fault(93)

PARAMS, NETWORK, FETCH = "src/mnist/model/params.py", "src/mnist/model/network.py", "stages/fetch.py"
CLASSIFIER = "src/mnist/train/classifier.py"
DATASET, SCHEDULE, SCORES = "src/mnist/data/dataset.py", "src/mnist/train/schedule.py", "src/mnist/model/scores.py"
# The first entry of ARCHITECTURES.
FIRST = '    "cnn": CNN,\n'
LINE = (ROOT / NETWORK).read_text().partition(FIRST)[0].count("\n") + 1
# Edits: a file, a text that occurs once in it, and the replacement.
VALUE = ("params.yaml", "\nepochs:", "\nunheard: 0.5\nepochs:")
DECLARED = ("dvc.yaml", "    - architecture\n", "    - architecture\n    - unheard\n")
BEGINS = '    """Params of the train stage."""\n'
FIELD = (PARAMS, BEGINS, f"{BEGINS}    unheard: float = Field(ge=0)\n")
OTHER_TYPE = (PARAMS, BEGINS, f"{BEGINS}    unheard: bool\n")
CHOICE = (PARAMS, "architecture: Literal[", 'architecture: Literal["unheard", ')
NETWORK_LACKS = f"{NETWORK}: ARCHITECTURES lacks unheard, which {PARAMS}: architecture has; add it to the former"


def imports(line: str) -> tuple[str, str, str]:
    return CLASSIFIER, "import copy\n", f"import copy\n{line}\n"


# Edits and the expected message.
HALVES = {
    "value and field": (
        [VALUE, FIELD],
        f"dvc.yaml: stage train lacks unheard, which {PARAMS}: TrainParams has; add it to the former",
    ),
    "value and dvc.yaml": (
        [VALUE, DECLARED],
        f"{PARAMS}: TrainParams lacks unheard, which dvc.yaml: stage train has; add it to the former",
    ),
    "another type": ([VALUE, DECLARED, OTHER_TYPE], "params.yaml: unheard must be a valid boolean, got 0.5"),
    "architecture in the schema": ([CHOICE], NETWORK_LACKS),
    "architecture below the others": (
        [CHOICE, (NETWORK, "\n\ndef build_model", '\nARCHITECTURES["unheard"] = CNN\n\n\ndef build_model')],
        NETWORK_LACKS,
    ),
    "architecture in a comment": (
        [(NETWORK, '    "resnet": ResNet,\n', '    # "resnet": ResNet,\n')],
        NETWORK_LACKS.replace("unheard", "resnet"),
    ),
    "renamed stage": (
        [("dvc.yaml", "\n  evaluate:\n", "\n  test:\n")],
        "dvc.yaml: stages lacks evaluate, which stages/check.py: SCHEMAS has; add it to the former",
    ),
    "use": (
        [(CLASSIFIER, "        self.params = params\n", "        self.params = params\n        params.unheard\n")],
        f"{PARAMS}: TrainParams lacks unheard, which `params` in {CLASSIFIER} has; add it to the former",
    ),
    "class in another file": (
        [CHOICE, (NETWORK, FIRST, f'    "unheard": Unheard,\n{FIRST}')],
        f"{NETWORK}: line {LINE} uses Unheard, which is not defined; define or import it",
    ),
    **{
        form: (
            [imports(form)],
            f"{CLASSIFIER}: imports src.mnist.train.unheard, which is not there; write src/mnist/train/unheard.py",
        )
        for form in (
            "from src.mnist.train.unheard import Unheard",
            "from src.mnist.train import unheard",
            "from .unheard import Unheard",
            "from . import unheard",
        )
    },
    "package": (
        [imports("import unheard.of")],
        f"{CLASSIFIER}: imports unheard, which is not installed; add it to requirements.txt and `make lock repro`",
    ),
    "code of another stage": (
        [imports("from src.mnist.evaluate.scores import score_predictions")],
        f"{CLASSIFIER}: imports src.mnist.evaluate.scores, but dvc.yaml does not list src/mnist/evaluate/scores.py "
        "among the deps of stage train; add it there, or move what several stages need to src/mnist/model",
    ),
    **{
        form: (
            [imports(form)],
            f"{CLASSIFIER}: imports src.mnist.evaluate, but dvc.yaml does not list src/mnist/evaluate/__init__.py "
            "among the deps of stage train; add it there, or move what several stages need to src/mnist/model",
        )
        for form in ("from src.mnist import evaluate", "from .. import evaluate")
    },
    "package without a version in the lock file": (
        [("requirements.txt", "\ntorch==", "\niniconfig[all] >= 1 ; python_version > '3'  # needed\ntorch==")],
        "requirements.lock: expected one version of iniconfig>=1, got none; `make lock repro`",
    ),
    "malformed requirement": (
        [("requirements.txt", "\ntorch==", "\niniconfig=1\ntorch==")],
        "requirements.txt: expected NAME==VERSION, got 'iniconfig=1'; fix it, then `make lock`",
    ),
    "schedule in the schema": (
        [(PARAMS, "schedule: Literal[", 'schedule: Literal["unheard", ')],
        f"src/mnist/train/schedule.py: SCHEDULES lacks unheard, which {PARAMS}: schedule has; add it to the former",
    ),
    "data set in the schema": (
        [(PARAMS, "dataset: Literal[", 'dataset: Literal["unheard", ')],
        f"{FETCH}: WRITERS lacks unheard, which {PARAMS}: dataset has; add it to the former",
    ),
}


@pytest.mark.parametrize("half", HALVES)
def test_incomplete_addition_names_the_file_to_edit(toy: Project, half: str) -> None:
    edits, said = HALVES[half]
    for edit in edits:
        toy.edit(*edit)
    assert refusal(toy.forked_stage("check")).startswith(f"check: {said}")


# Edits that break training or evaluation, and the last line of the message.
BROKEN = {
    "a view of another layout": (
        NETWORK,
        "self.conv2(x).permute(0, 2, 3, 1).flatten(1)",
        "self.conv2(x).view(len(x), -1)",
        "RuntimeError: view size",
    ),
    "lazy layers": (
        NETWORK,
        "nn.Linear(500, 10)",
        "nn.LazyLinear(10)",
        "ValueError: Attempted to use an uninitialized",
    ),
    "larger images": (
        DATASET,
        "IMAGE_SHAPE = (28, 28)",
        "IMAGE_SHAPE = (32, 32)",
        "RuntimeError: addmm: mat1 and mat2 shapes",
    ),
    "fewer classes": (
        DATASET,
        "NUM_CLASSES = 10",
        "NUM_CLASSES = 5",
        "check: the edited code fails with random images: CNN: expected logits of shape (128, 5), one",
    ),
    "a schedule of one number": (
        SCHEDULE,
        '"one-cycle": _one_cycle',
        '"one-cycle": lambda lr, _: lr',
        "AttributeError",
    ),
    "a score by class": (
        SCORES,
        "Score(accuracy, ",
        "Score(lambda counts: counts.diagonal(), ",
        f"check: the edited code fails with random images: {SCORES}: acc: expected a tensor of shape (), got (10,)",
    ),
    "a loss for classes": (
        "src/mnist/train/steps.py",
        "F.cross_entropy(logits, targets)",
        "F.nll_loss(logits, targets)",
        "RuntimeError: 0D or 1D target tensor expected",
    ),
    "a loss that is not a number": (
        "src/mnist/train/steps.py",
        "F.cross_entropy(logits, targets)",
        "F.cross_entropy(logits, targets) * float('nan')",
        "check: the edited code fails with random images: epoch 1: loss is nan",
    ),
    "an optimizer without lr": (
        CLASSIFIER,
        "            fused=True,\n",
        "            betas=(0.9, 1.0),\n",
        "ValueError: Invalid beta parameter",
    ),
    "a learning rate for each layer": (
        CLASSIFIER,
        "            self.model.parameters(),\n            # A tensor",
        "            [{'params': weight, 'lr': torch.tensor(1 / weight.ndim)} for weight in self.model.parameters()],\n"
        "            # A tensor",
        f"check: the edited code fails with random images: {CLASSIFIER}: the optimizer's groups",
    ),
    "noise of another shape": (
        "src/mnist/train/batches.py",
        "return normalize(images).unflatten(0, shape)",
        "return (normalize(images) + torch.randn(3, 3)).unflatten(0, shape)",
        "RuntimeError: The size of tensor a (28) must match",
    ),
    "a count of calls": (
        CLASSIFIER,
        "indices = batches.plan[0]",
        "indices, self.calls = batches.plan[0], batch_idx + self.trainer.current_epoch",
        "check: the edited code fails with random images: Classifier: calls changes, but is not in a checkpoint",
    ),
    "a rate that depends on the calls so far": (
        "src/mnist/train/steps.py",
        "        self.rates.copy_(rates)\n",
        "        self.calls = getattr(self, 'calls', 0) + 1\n        self.rates.copy_(rates / self.calls)\n",
        "check: the edited code fails with random images: training that is interrupted after 1 of 3 epochs resumes to",
    ),
    "a test score of another name": (
        "src/mnist/evaluate/scores.py",
        'scores.pop("acc")',
        'scores.pop("accuracy")',
        "KeyError: 'accuracy'",
    ),
}


@pytest.mark.fault(94, 100)
@pytest.mark.parametrize("edit", BROKEN)
def test_code_is_rehearsed_before_results_are_deleted(project: Project, edit: str) -> None:
    *change, said = BROKEN[edit]
    project.edit(*change)
    done = project.computing_stage("check")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(said)


@pytest.mark.fault(59, 94)
def test_rehearsal_reads_declared_files_and_writes_no_output(project: Project) -> None:
    (project.path / "given").mkdir()
    (project.path / "given/share").write_text("0.5")
    project.edit("dvc.yaml", "    - src/mnist/check\n", "    - src/mnist/check\n    - given\n")
    # A folder of other stages' outputs.
    project.edit("dvc.yaml", "  fetch:\n", "  more:\n    cmd: 'true'\n    deps: [metrics]\n  fetch:\n")
    write = "    write_json(outputs.metrics, {**metrics"
    project.edit(
        "stages/train.py", write, f"    Path('plots/own.csv').write_text(Path('given/share').read_text())\n{write}"
    )
    before = project.results()
    done = project.computing_stage("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert project.results() == before
    assert not (project.path / "plots/own.csv").exists()


def test_stage_knows_what_changed(toy: Project) -> None:
    toy.set(lr=0.5)
    toy.append(NETWORK, "# edited\n")
    runs: list[Run] = []

    def main(run: Run) -> ReceiptFields:
        runs.append(run)
        return ReceiptFields()

    toy.here("check", main)
    assert runs[0].changed == {"lr", "src/mnist/model"}


def test_complete_addition_is_accepted(toy: Project) -> None:
    computed = (NETWORK, "type[nn.Module]] = {", 'type[nn.Module]] = dict(vit=CNN) | {"unheard": CNN, ')
    comment = (CLASSIFIER, "        self.params = params\n", "        self.params = params  # Not params.other.\n")
    text = (CLASSIFIER, "Trains a network; logs", "Trains a network with params.other; logs")
    optional = imports("try:\n    import unheard\nexcept ImportError:\n    unheard = None")
    needed = ("requirements.txt", "\ntorch==", "\nunheard==1 ; python_version < '3'\n# unheard==1\ntorch==")
    for edit in (VALUE, FIELD, DECLARED, CHOICE, computed, comment, text, optional, needed):
        toy.edit(*edit)
    done = toy.forked_stage("check")
    assert done.returncode == 0, done.stderr


def test_syntax_error_loses_no_results(toy: Project) -> None:
    toy.append(CLASSIFIER, "def forward(\n")
    done = toy.stage("check")
    assert done.returncode == 1
    assert CLASSIFIER in done.stderr
    assert done.stderr.splitlines()[-1].startswith("SyntaxError: ")
