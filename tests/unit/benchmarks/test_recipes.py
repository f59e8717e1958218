import re

import pytest
from ruamel.yaml import YAML

from benchmarks.recipes import RECIPES, command, recipe_params
from src.mnist.model.params import Params, load_params
from tests.conftest import REPOSITORY

FIXED = [name for name in RECIPES if name != "default"]


def test_the_default_recipe_is_params_yaml_with_seed_0() -> None:
    committed = load_params(REPOSITORY / "params.yaml")
    assert recipe_params("default") == committed.model_copy(update={"seed": 0})


@pytest.mark.parametrize("recipe", FIXED)
def test_a_recipe_names_every_param_but_the_seed(recipe: str) -> None:
    assert set(RECIPES[recipe]) == set(Params.model_fields) - {"seed"}
    assert recipe_params(recipe).model_dump() == RECIPES[recipe] | {"seed": 0}


@pytest.mark.parametrize("recipe", FIXED)
def test_the_command_sets_every_param_of_the_recipe(recipe: str) -> None:
    settings = dict(word.split("=") for word in command(recipe).split(" -S ")[1:])
    assert {name: YAML(typ="safe").load(text) for name, text in settings.items()} == RECIPES[recipe]


@pytest.mark.parametrize("recipe", FIXED)
def test_the_readme_gives_each_recipe_as_a_command(recipe: str) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert f"$ {command(recipe)}\n" in re.sub(r" \\\n +", " ", readme)
