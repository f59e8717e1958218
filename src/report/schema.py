"""Pydantic's findings about a file of the branch, as text."""

from pydantic import ValidationError


def describe_problems(error: ValidationError) -> list[str]:
    """Every problem with its place in the file, such as `metrics.metrics/eval.json.test_acc.better: Field required`."""
    return [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
