"""Were both revisions scored by the same evaluator on the same data? Only then can their metrics be compared."""

from src.report.document import Sentence, listed
from src.report.policy import Policy
from src.report.revision import MODEL, TABLES, TEST_DATA, Revision
from src.report.verdict import Outcome, Reason

ADVICE = (
    "not comparable; to compare, score the base's model with both: on the base, apply only this part of the change, "
    "run `dvc repro`, and compare this change with that commit"
)
INCOMPARABLE = "not comparable: data or evaluator changed"


def scoring_stages(base: Revision, head: Revision, policy: Policy) -> dict[str, str | None]:
    """The stage that makes each file with a gating metric, by the base's definition or else by the head's."""
    files = [file for file, rules in policy.metrics.items() if any(rule.gates for rule in rules.values())]
    made = {**head.pipeline.producers, **base.pipeline.producers}
    return {file: made.get(file) for file in files}


def gating_reasons(base: Revision, head: Revision, policy: Policy) -> list[Reason]:
    """Files with gating metrics that no recorded run of their stage made: they may have been written by hand."""
    reasons = []
    for file, stage in scoring_stages(base, head, policy).items():
        locked = head.pipeline.locked.get(stage or "")
        declared = head.pipeline.stages.get(stage or "")
        if not (locked and declared and file in declared.outs and locked.outs.get(file)):
            by: Sentence = ["no stage"] if stage is None else ["the stage ", *listed([stage])]
            reasons.append(
                Reason(Outcome.FAIL, [*listed([file]), " has metrics that gate, but dvc.lock records no run of ", *by])
            )
    return reasons


def comparability(base: Revision, head: Revision, policy: Policy) -> list[Reason]:
    """Why the metrics cannot be compared (UNKNOWN), or what a reviewer should know about the scoring (PASS)."""
    if not base.has_results:
        return []
    reasons = []
    if base.data != head.data:
        reasons.append(Reason(Outcome.UNKNOWN, [*listed([TEST_DATA]), " changed: ", ADVICE]))
    for stage in dict.fromkeys(stage for stage in scoring_stages(base, head, policy).values() if stage):
        reasons += _evaluator(stage, base, head)
    return reasons


def _evaluator(stage: str, base: Revision, head: Revision) -> list[Reason]:
    """Code that only this stage uses is the evaluator; code that training also uses belongs to the model."""
    old, new = base.code.get(stage, {}), head.code.get(stage, {})
    changed = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    trained_with = base.code.get(base.pipeline.producers.get(MODEL, ""), {})
    own = [path for path in changed if path not in trained_with]
    shared = [path for path in changed if path in trained_with]
    reasons = []
    if own and _same_results(stage, base, head):
        reasons.append(
            Reason(Outcome.PASS, ["the evaluator changed, but gives the same model the same scores: ", *listed(own)])
        )
    elif own:
        reasons.append(Reason(Outcome.UNKNOWN, ["the evaluator changed, ", *listed(own), ": ", ADVICE]))
    if shared and not own and _same_model(stage, base, head) and not _same_results(stage, base, head):
        reasons.append(
            Reason(Outcome.UNKNOWN, ["the same model got other scores from ", *listed(shared), ": ", ADVICE])
        )
    elif shared:
        reasons.append(Reason(Outcome.PASS, ["the evaluation uses code that changed: ", *listed(shared)]))
    return reasons


def _same_model(stage: str, base: Revision, head: Revision) -> bool:
    """Whether both scored the same model in the same way, by the hashes in dvc.lock and the evaluator's params."""
    old, new = base.pipeline.locked.get(stage), head.pipeline.locked.get(stage)
    if old is None or new is None or old.deps.get(MODEL) is None:
        return False
    return (old.deps.get(MODEL), old.params) == (new.deps.get(MODEL), new.params)


def _same_results(stage: str, base: Revision, head: Revision) -> bool:
    """Whether both scored the same model, and every metric and table came out the same."""
    if not _same_model(stage, base, head):
        return False
    old, new = base.pipeline.locked[stage], head.pipeline.locked[stage]
    scored = [path for path in old.outs if path in TABLES or path in base.metrics]
    return bool(scored) and all(old.outs[path] == new.outs.get(path) for path in scored)
