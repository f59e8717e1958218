"""Stages that ran twice with the same inputs: on one kind of machine, they give the same outputs."""

from src.core.receipt import parse_receipt, receipt_path
from src.report.document import Data, listed
from src.report.revision import Revision
from src.report.verdict import Outcome, Reason

ADVICE = "; one of the two results is not what this code gives, `make reproduce` shows which"


def repeat_reasons(base: Revision, head: Revision) -> list[Reason]:
    """Stages whose outputs changed without their inputs: PASS if versions or machine did, otherwise UNKNOWN."""
    return [reason for stage in head.pipeline.locked for reason in _of_stage(stage, base, head)]


def _of_stage(stage: str, base: Revision, head: Revision) -> list[Reason]:
    old, new = base.pipeline.locked.get(stage), head.pipeline.locked[stage]
    if old is None or (old.command, old.deps, old.params) != (new.command, new.deps, new.params):
        return []
    own = receipt_path(stage)
    changed = [path for path, oid in new.outs.items() if path in old.outs and old.outs[path] != oid and path != own]
    if not changed:
        return []
    text = [Data(stage), ": the same inputs gave another ", *listed(changed)]
    if others := _differences(stage, base, head):
        return [Reason(Outcome.PASS, [*text, " with another ", *listed(others)])]
    return [Reason(Outcome.UNKNOWN, [*text, ADVICE])]


def _differences(stage: str, base: Revision, head: Revision) -> list[str]:
    """Names of versions and of properties of the machine that the receipts of the two revisions do not agree on."""
    try:
        old, new = (parse_receipt(revision.receipts.get(stage) or "") for revision in (base, head))
    except ValueError:
        return []  # a receipt that cannot be read is reported already
    return [
        name
        for part in ("versions", "machine")
        for name in {**old[part], **new[part]}
        if old[part].get(name) != new[part].get(name)
    ]
