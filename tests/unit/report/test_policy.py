import pytest

from src.core.errors import UserError
from src.report.policy import Rule, parse_policy
from tests.unit.history import REPOSITORY


def rule(tolerated: float | str, better: str = "higher") -> Rule:
    return Rule.model_validate({"better": better, "tolerated": tolerated, "gates": True})


@pytest.mark.parametrize(
    ("better", "old", "new", "loss"),
    [("higher", 0.9, 0.8, 0.1), ("higher", 0.8, 0.9, -0.1), ("lower", 0.5, 0.75, 0.25)],
)
def test_loss_is_what_becomes_worse(better: str, old: float, new: float, loss: float) -> None:
    assert rule(0, better).loss(old, new) == pytest.approx(loss)


def test_tolerance_in_the_metrics_unit_or_as_a_share() -> None:
    assert rule(0.25).allowed_loss(100) == 0.25
    assert rule(3).allowed_loss(100) == 3
    assert rule("2.5%").allowed_loss(200) == 5
    assert rule("10%").allowed_loss(-2) == 0.2


@pytest.mark.parametrize("tolerated", ["5", "-1%", "%", "nan%", "inf%", "five", -0.1, float("nan"), None, True])
def test_bad_tolerances_are_refused(tolerated: object) -> None:
    with pytest.raises(ValueError, match="tolerated"):
        Rule.model_validate({"better": "higher", "tolerated": tolerated, "gates": True})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "valid dictionary"),
        ("metrics: [", "is not YAML"),
        ("metrics: {a.json: {acc: {better: up, tolerated: 0, gates: yes}}}", "metrics.a.json.acc.better"),
        ("metrics: {a.json: {acc: {better: higher, tolerated: 0}}}", "metrics.a.json.acc.gates"),
        ("metrics: {a.json: {acc: {better: higher, tolerated: 0, gates: true, accumulated: -1}}}", "acc.accumulated"),
        ("metrics: {a.json: {acc: {better: higher, tolerated: 0, gates: true, accumulated: 0}}}", "has an accumulated"),
        ("metrics: {}\nreference: 5ce859d", "reference: .*expected a tag or a whole hash"),
        ("metric: {}", "metric: Extra inputs"),
        ("metrics: {a.json: 7}\nnews: 1", "metrics.a.json: .*; news: "),
    ],
)
def test_every_problem_is_named(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        parse_policy(text, "metrics_policy.yaml")
    assert str(caught.value).startswith("metrics_policy.yaml: ")
    assert "\n" not in str(caught.value)


def test_the_repositorys_policy_names_metrics_that_it_has() -> None:
    policy = parse_policy((REPOSITORY / "metrics_policy.yaml").read_text(), "metrics_policy.yaml")
    assert any(rule.gates for rules in policy.metrics.values() for rule in rules.values())
    for file in policy.metrics:
        assert (REPOSITORY / file).is_file()
