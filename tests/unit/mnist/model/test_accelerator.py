import pytest

from src.core.errors import UserError
from src.mnist.model.accelerator import chosen_accelerator


def test_lightnings_own_variable_chooses_the_device() -> None:
    assert chosen_accelerator({"PL_TRAINER_ACCELERATOR": "gpu", "PL_GLOBAL_SEED": "1"}) == "gpu"
    assert chosen_accelerator({}) == "auto"


@pytest.mark.parametrize("name", ["PL_TRAINER_LIMIT_TRAIN_BATCHES", "PL_TRAINER_MAX_TIME"])
def test_the_environment_says_nothing_else_to_the_trainer(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: expected no PL_TRAINER_ variable but PL_TRAINER_ACCELERATOR"):
        chosen_accelerator({name: "1", "PL_TRAINER_ACCELERATOR": "cpu"})
