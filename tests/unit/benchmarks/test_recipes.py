from pathlib import Path

import pytest
import yaml

from benchmarks.ours import RECIPES
from src.mnist.model.params import Params
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("path", RECIPES.values())
def test_recipe_sets_every_param(path: str) -> None:
    written = yaml.safe_load((REPOSITORY / path).read_text())
    assert set(written) == set(Params.model_fields)
    assert Params.model_validate(written).model_dump() == written


def test_every_recipe_has_a_benchmark() -> None:
    assert {path.stem for path in (REPOSITORY / "recipes").iterdir()} == {
        Path(path).stem for path in RECIPES.values()
    } - {"params"}
