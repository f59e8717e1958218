from pathlib import Path

import pytest
import yaml

from benchmarks.recipes import RECIPES, recipe_params
from src.mnist.model.params import Params
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_a_params_file_with_seed_0(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    written = yaml.safe_load(Path(RECIPES[recipe]).read_text())
    assert set(written) == set(Params.model_fields)
    assert recipe_params(recipe).model_dump() == written | {"seed": 0}


def test_every_recipe_is_measured() -> None:
    assert {path.stem for path in (REPOSITORY / "recipes").iterdir()} == set(RECIPES) - {"default"}
