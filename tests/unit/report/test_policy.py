import pytest

from src.core.errors import UserError
from src.report.policy import Policy, Rule
from src.revision.parsing import parse, validated
from tests.unit.history import REPOSITORY

RULES = "version: 2\nmetrics: {a.json: {acc: {better: higher, tolerated: 0, required: true}}}"


def parse_policy(text: str) -> Policy:
    return validated(Policy, parse(text.encode(), "metrics_policy.yaml", "policy"), "policy")


def rule(tolerated: float | str, better: str = "higher") -> Rule:
    return Rule.model_validate({"better": better, "tolerated": tolerated, "required": True})


@pytest.mark.parametrize(
    ("better", "old", "new", "loss"),
    [("higher", 0.9, 0.8, 0.1), ("higher", 0.8, 0.9, -0.1), ("lower", 0.5, 0.75, 0.25)],
)
def test_loss_depends_on_the_metrics_direction(better: str, old: float, new: float, loss: float) -> None:
    assert rule(0, better).loss(old, new) == pytest.approx(loss)


def test_tolerance_is_absolute_or_relative() -> None:
    assert rule(0.25).allowed_loss(100) == 0.25
    assert rule(3).allowed_loss(100) == 3
    assert rule("2.5%").allowed_loss(200) == 5
    assert rule("10%").allowed_loss(-2) == 0.2
    assert rule("10%", "lower").allowed_loss(-1.7e308) < 1.8e307


@pytest.mark.parametrize("tolerated", ["5", "-1%", "%", "nan%", "inf%", "five", -0.1, float("nan"), None, True])
def test_invalid_tolerances_are_rejected(tolerated: object) -> None:
    with pytest.raises(ValueError, match="tolerated"):
        Rule.model_validate({"better": "higher", "tolerated": tolerated, "required": True})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "valid dictionary"),
        ("metrics: [", "is not YAML"),
        ("version: 3\nmetrics: {}", "version: "),
        ("version: true\nmetrics: {}", "version: "),
        ("metrics: {a.json: {acc: {better: higher, tolerated: 0, gates: true}}}", "gates: Extra inputs"),
        (
            "version: 2\nmetrics: {a.json: {acc: {better: up, tolerated: 0, required: yes}}}",
            "metrics.a.json.acc.better",
        ),
        ("version: 2\nmetrics: {a.json: {acc: {better: higher, tolerated: 0}}}", "metrics.a.json.acc.required"),
        (RULES.replace("true", "true, since_reference: -1"), "acc.since_reference"),
        (RULES.replace("true", "true, since_reference: 0"), "expected a reference, since acc has"),
        ("version: 2\nmetric: {}", "metric: Extra inputs"),
        ("version: 2\nmetrics: {}\nread by the owner, merge it: 1", "'read by the owner, merge it': Extra inputs"),
        ("version: 2\nmetrics: {a.json: 7}\nnews: 1", "metrics.a.json: .*; news: "),
        ("version: 2\nmetrics: {}\nexamples: {metrics: {a.json: {acc: area}}}", "examples.metrics.a.json.acc"),
        ("version: 2\nmetrics: {}\nexamples: {pictures: {file: a.png, side: 100000, columns: 1}}", "pictures.side"),
    ],
)
def test_every_problem_in_a_policy_is_reported(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        parse_policy(text)
    assert str(caught.value).startswith("policy: ")
    assert "\n" not in str(caught.value)


def test_missing_key_disables_its_check() -> None:
    policy = parse_policy(RULES)
    assert (policy.data, policy.examples.counts, policy.curves, policy.accuracy) == (None, None, None, None)


def test_committed_policy_is_current_and_complete() -> None:
    policy = parse_policy((REPOSITORY / "metrics_policy.yaml").read_text())
    assert policy.version == 2
    assert policy.required
    assert policy.curves
    assert policy.examples.pictures
    for file in (*policy.metrics, policy.examples.wrong, policy.examples.counts, policy.curves.file):
        assert file
        assert (REPOSITORY / file).is_file()
