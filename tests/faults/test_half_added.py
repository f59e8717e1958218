"""What was added in one place and not in the other is found by stage check, which names the file to edit."""

from collections.abc import Callable

import pytest

from tests.faults.project import Project

pytestmark = pytest.mark.fault(93)

PARAMS, NETWORK, FETCH = "src/mnist/model/params.py", "src/mnist/model/network.py", "stages/fetch.py"
TRAIN_BEGINS = '    """What the train stage reads."""\n'


def add_value(project: Project) -> None:
    project.append("params.yaml", "unheard: 0.5\n")


def add_field(project: Project) -> str:
    add_value(project)
    project.edit(PARAMS, TRAIN_BEGINS, f"{TRAIN_BEGINS}    unheard: float = Field(ge=0)\n")
    return f"dvc.yaml: stage train lacks unheard, which {PARAMS}: TrainParams has; add it there"


def add_to_dvc(project: Project) -> str:
    add_value(project)
    project.edit("dvc.yaml", "    - architecture\n", "    - architecture\n    - unheard\n")
    return f"{PARAMS}: TrainParams lacks unheard, which dvc.yaml: stage train has; add it there"


def add_architecture_to_schema(project: Project) -> str:
    project.edit(PARAMS, "architecture: Literal[", 'architecture: Literal["unheard", ')
    return f"{NETWORK}: ARCHITECTURES lacks unheard, which {PARAMS}: architecture has; add it there"


def add_architecture_to_network(project: Project) -> str:
    project.edit(NETWORK, "type[nn.Module]] = {", 'type[nn.Module]] = {"unheard": CNN, ')
    return f"{PARAMS}: architecture lacks unheard, which {NETWORK}: ARCHITECTURES has; add it there"


def add_architecture_below(project: Project) -> str:
    project.append(NETWORK, 'ARCHITECTURES["unheard"] = CNN\n')
    return add_architecture_to_schema(project)


def compute_architectures(project: Project) -> str:
    project.edit(NETWORK, '= {"cnn": CNN,', '= dict(vit=CNN) | {"cnn": CNN,')
    return f"{NETWORK}: expected `ARCHITECTURES = {{...}}` with every choice in it"


def rename_a_stage(project: Project) -> str:
    project.edit("dvc.yaml", "\n  evaluate:\n", "\n  test:\n")
    return "dvc.yaml: stages lacks evaluate, which stages/check.py: SCHEMAS has; add it there"


def give_another_type(project: Project) -> str:
    add_to_dvc(project)
    project.edit(PARAMS, TRAIN_BEGINS, f"{TRAIN_BEGINS}    unheard: bool\n")
    return "params.yaml: unheard must be a valid boolean, got 0.5"


def take_what_is_no_param(project: Project) -> str:
    classifier = "src/mnist/train/classifier.py"
    project.edit(classifier, "        self.params = params\n", "        self.params = params\n        params.unheard\n")
    return f"{PARAMS}: TrainParams lacks unheard, which {classifier} has; add it there"


def add_dataset_to_schema(project: Project) -> str:
    project.edit(PARAMS, "dataset: Literal[", 'dataset: Literal["unheard", ')
    return f"{FETCH}: WRITERS lacks unheard, which {PARAMS}: dataset has; add it there"


def add_dataset_to_fetch(project: Project) -> str:
    project.edit(FETCH, "WRITERS = {", 'WRITERS = {"unheard": None, ')
    return f"{PARAMS}: dataset lacks unheard, which {FETCH}: WRITERS has; add it there"


HALVES = [
    add_field,
    add_to_dvc,
    add_architecture_to_network,
    add_architecture_below,
    compute_architectures,
    rename_a_stage,
    give_another_type,
    take_what_is_no_param,
    add_dataset_to_schema,
    add_dataset_to_fetch,
]


@pytest.mark.parametrize("half", HALVES)
def test_half_of_an_addition_is_named_with_the_file_of_the_other_half(
    toy: Project, half: Callable[[Project], str]
) -> None:
    said = half(toy)
    done = toy.forked_stage("check")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"check: {said}")


def test_both_halves_of_an_addition_are_accepted(toy: Project) -> None:
    add_field(toy)
    toy.edit("dvc.yaml", "    - architecture\n", "    - architecture\n    - unheard\n")
    done = toy.forked_stage("check")
    assert done.returncode == 0, done.stderr


def test_code_that_is_no_python_loses_nothing(toy: Project) -> None:
    toy.append("src/mnist/train/classifier.py", "def forward(\n")
    done = toy.stage("check")
    assert done.returncode == 1
    assert "src/mnist/train/classifier.py" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("SyntaxError: ")
