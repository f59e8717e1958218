import pytest

from benchmarks.recipes import RECIPES, command, recipe_params
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_sound_and_its_command_says_all_that_it_changes(recipe: str) -> None:
    changed = [word.split("=") for word in command(recipe).split(" -S ")[1:]]
    params = recipe_params(recipe).model_dump()
    assert {name: str(params[name]) for name, _ in changed} == dict(changed)
    default = recipe_params("default").model_dump()
    assert {name for name in params if params[name] != default[name]} == {name for name, _ in changed}


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "default"])
def test_the_readme_gives_each_recipe_as_a_command(recipe: str) -> None:
    assert command(recipe) in (REPOSITORY / "README.md").read_text()
