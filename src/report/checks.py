"""All checks of a change. Each is a function from the change to what it found; the outcome is the highest level."""

import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

from src.core.errors import UserError
from src.core.receipt import receipt_path
from src.noise.measurement import NOISE, read_noise
from src.noise.significance import SIGNIFICANCE
from src.report.change import Change
from src.report.consistency import disagreements
from src.report.definitions import files, stages
from src.report.environment import installed, tools, versions
from src.report.finding import Finding, Level, Text, fail, note, unsure
from src.report.metrics import judge_metrics, metric_findings, read_metric
from src.report.policy import POLICY, parse_policy, short_reference
from src.report.scorer import scorer
from src.report.tables import read_curves
from src.revision.parsing import MAX_JSON_BYTES, MAX_YAML_BYTES
from src.revision.receipts import Receipt, lock_differences
from src.revision.revision import Revision, open_revision

REPRODUCED = {
    "yes": note("the pipeline ran again and gave the same bytes"),
    "as-good": note("the pipeline ran again, on another machine: not the same bytes, but within what seeds change"),
    "no": fail("the pipeline ran again and did not give these results, or failed"),
    "not-tried": None,
}
Check = Callable[[Change], Iterator[Finding]]


def results(change: Change) -> Iterator[Finding]:
    """Whether there is a result to judge, and one to compare with."""
    if not change.head.pipeline.code:
        yield unsure("{} has no dvc.lock, or no stage in it: there is no result to judge", change.head.name)
    elif not change.base.has_results:
        yield note("no baseline: {} has no results to compare with", change.base.name)


def reproduced(change: Change) -> Iterator[Finding]:
    """Whether running the pipeline again gave these results."""
    found = REPRODUCED[change.reproduced]
    if found:
        yield found


def lineage(change: Change) -> Iterator[Finding]:
    """What the change is compared with."""
    where = change.lineage
    if where.merge_bases != 1:
        began = "began more than once from {}" if where.merge_bases else "has no commit in common with {}"
        yield note(f"the branch {began}: compared with that revision itself", where.name)
    if where.behind:
        behind = f"{where.behind} commit{'s' if where.behind > 1 else ''} behind {{}}"
        yield note(f"{behind}: compared with the commit where the branch began", where.name)


def lock(change: Change) -> Iterator[Finding]:
    """Where dvc.lock does not match code, params and data."""
    head = change.head
    if not head.pipeline.code:
        return
    first = [mismatch for mismatch in head.stale if not mismatch.follows]
    if first:
        stages = list(dict.fromkeys(mismatch.stage for mismatch in first))
        after = list(dict.fromkeys(mismatch.stage for mismatch in head.stale if mismatch.follows))
        then = Text(", then perhaps {}", after) if after else Text("")
        wrong = list(dict.fromkeys(Text(f"{{}} {mismatch.problem}", mismatch.subject) for mismatch in first))
        yield fail("dvc.lock is stale: `dvc repro` would run {}{} ({})", stages, then, wrong)
    if change.base.stale or change.base.edited:
        yield note("the base itself is out of date, so its values may not be its code's")


def outputs(change: Change) -> Iterator[Finding]:
    """Results in git that do not match dvc.lock."""
    for mismatch in change.head.edited if change.head.pipeline.code else ():
        yield fail(f"{{}} {mismatch.problem}", mismatch.subject)


def receipts(change: Change) -> Iterator[Finding]:
    """Where the receipts do not confirm dvc.lock."""
    head = change.head
    if not head.receipts:
        words = "no stage leaves a receipt" if change.base.receipts else "neither revision has receipts"
        yield note(f"{words}: only dvc.lock says what the results were made from")
    for stage, receipt in head.receipts.items():
        locked = head.pipeline.locked.get(stage)
        if locked is None:
            continue  # the stage is stale, which is reported already
        if isinstance(receipt, UserError):
            yield fail("{}", receipt)
        elif wrong := lock_differences(receipt, locked):
            text = "dvc.lock contradicts {} in {}: stage {} was not run like that"
            yield fail(text, receipt_path(stage), wrong, stage)


def repeats(change: Change) -> Iterator[Finding]:
    """Inputs that gave other outputs than in the base; on one kind of machine, they give the same."""
    for stage, new in change.head.pipeline.locked.items():
        old = change.base.pipeline.locked.get(stage)
        if old is None or (old.command, old.deps, old.params) != (new.command, new.deps, new.params):
            continue
        own = receipt_path(stage)
        changed = [path for path, oid in new.outs.items() if path in old.outs and old.outs[path] != oid and path != own]
        if not changed:
            continue
        if others := _differences(change.base.receipts.get(stage), change.head.receipts.get(stage)):
            yield note("{}: the same inputs gave another {} with another {}", stage, changed, others)
        else:
            advice = "; one of the two results is not what this code gives, `make reproduce` shows which"
            yield unsure("{}: the same inputs gave another {}" + advice, stage, changed)


def tables(change: Change) -> Iterator[Finding]:
    """Where metrics and tables of the test set disagree."""
    if change.head.pipeline.code:
        yield from disagreements(change.head, change.examples)


def predictions(change: Change) -> Iterator[Finding]:
    """Why the models cannot be compared example by example."""
    if isinstance(change.predictions, UserError):
        yield unsure("the predictions cannot be compared: {}", change.predictions)


def curves(change: Change) -> Iterator[Finding]:
    """A training history that is missing or malformed."""
    if change.curves and change.head.pipeline.code:
        read_curves(change.head, change.curves.file, change.curves.columns)
    yield from ()


def recorded(change: Change) -> Iterator[Finding]:
    """Required metrics that no recorded run made: they may have been written by hand."""
    pipeline = change.head.pipeline
    for file, stage in change.scoring.items() if pipeline.code else ():
        made = pipeline.producer(file)
        locked = pipeline.locked.get(stage or "")
        hashed = locked and any(oid for path, oid in locked.outs.items() if f"{file}/".startswith(f"{path}/"))
        if stage is None or made != stage or not hashed:
            by = Text("the stage {}", stage) if stage else Text("any stage")
            yield fail("{} has required metrics, but dvc.lock records no run of {} that made it", file, by)


def metrics(change: Change) -> Iterator[Finding]:
    """Required metrics that do not keep the policy."""
    if change.head.pipeline.code:
        yield from metric_findings(judge_metrics(change))


def since_reference(change: Change) -> Iterator[Finding]:
    """Many small losses that add up."""
    name = change.policy.reference
    if name is None or not change.head.pipeline.code:
        return
    try:
        with open_revision(change.root, name) as reference:
            yield from _lost_since(reference, change)
    except UserError as error:
        advice = "; name a commit of this clone as `reference` in {}"
        yield unsure("losses since the policy's reference: {}" + advice, error, POLICY)


def data(change: Change) -> Iterator[Finding]:
    """Test data that is not the same in both revisions."""
    if change.base.has_results and change.other_data:
        advice = "apply only this part of the change to the base, run `dvc repro`, and compare with that"
        yield unsure("{} changed, not comparable: " + advice, change.other_data)


def policy(change: Change) -> Iterator[Finding]:
    """Whether there is a policy to judge the next change by."""
    rules, head = change.rules, change.head
    content = head.text(POLICY, MAX_YAML_BYTES)
    if change.policy and not change.has_own_policy:
        yield note("judged by the head's {}: the base has none", POLICY)
    if content is None:
        yield fail("{}: is missing in {}", POLICY, head.name)
        return
    try:
        found = parse_policy(content, f"{POLICY} of {head.name}")
    except UserError as error:
        yield fail("{}", error)
        return
    changed = content != rules.text(POLICY, MAX_YAML_BYTES)
    if changed and change.has_own_policy:
        yield note("this change edits {}; it is judged by the base's", POLICY)
    if changed and (short := short_reference(found)):
        yield fail("{}: reference {} is a short hash, expected a tag or a whole hash of 40 digits", POLICY, short)
    if absent := [name for file, name in found.required if _is_absent(head, file, name)]:
        yield fail("{} of {}: requires what is missing: {}", POLICY, head.name, absent)


def noise(change: Change) -> Iterator[Finding]:
    """Whether the noise is well-formed by which the next change is judged."""
    _ = change.measured  # raises if the base's is malformed
    own, rules = (revision.text(NOISE, MAX_JSON_BYTES) for revision in (change.head, change.rules))
    if own == rules or own == change.base.text(NOISE, MAX_JSON_BYTES):
        return
    try:
        read_noise(change.head, change.accuracy)
    except UserError as error:
        yield fail("{}", error)
        return
    yield note("this change edits {}; it is judged by the base's", NOISE)


CHECKS: tuple[Check, ...] = (
    results,
    reproduced,
    policy,
    metrics,
    since_reference,
    recorded,
    lock,
    outputs,
    receipts,
    tables,
    predictions,
    curves,
    data,
    scorer,
    repeats,
    versions,
    installed,
    stages,
    files,
    noise,
    tools,
    lineage,
)


def find(change: Change) -> list[Finding]:
    """What all checks find, the highest level first, each text once. A check that breaks cannot tell."""
    found: dict[Text, Finding] = {}
    for check in CHECKS:
        for finding in _run(check, change):
            found.setdefault(finding.text, replace(finding, check=check.__name__))
    return sorted(found.values(), key=lambda finding: -finding.level)


def outcome(findings: list[Finding]) -> Level:
    """The highest level."""
    return max((finding.level for finding in findings), default=Level.NOTE)


def _run(check: Check, change: Change) -> Iterator[Finding]:
    try:
        yield from check(change)
    except UserError as error:
        yield unsure("{}", error)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        yield unsure("the check {} broke: {}", check.__name__, RuntimeError(f"{type(error).__name__}: {error}"))


def _differences(old: Receipt | UserError | None, new: Receipt | UserError | None) -> list[str]:
    """Names of versions and of properties of the machine that two receipts do not agree on."""
    if not (isinstance(old, Receipt) and isinstance(new, Receipt)):
        return []  # a receipt that cannot be read is reported already
    return [
        name
        for one, other in ((old.versions, new.versions), (old.machine, new.machine))
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    ]


def _lost_since(reference: Revision, change: Change) -> Iterator[Finding]:
    """What was lost since the policy's reference; the same words for all metrics are one finding."""
    seeds = change.seeds_of(reference, change.head)
    name = change.policy.reference or ""
    shown = name[:7] if reference.commit == name else name
    hashes = [revision.data_hashes(change.data) for revision in (reference, change.head)]
    for (file, metric), rule in change.policy.bounded.items():
        if rule.since_reference is None:
            continue
        old, new = (read_metric(revision, file, metric).number for revision in (reference, change.head))
        if old is None or new is None or hashes[0] != hashes[1]:
            yield unsure("{}: cannot be compared with the policy's reference {}", metric, shown)
        elif rule.exceeds(old, new, rule.since_reference):
            seed_noise = seeds.noise(file, metric)
            explained = seed_noise is not None and seed_noise.p_value(new - old) >= SIGNIFICANCE
            words = ", but another seed changes as much" if explained else ""
            text = Text(
                f"{{}}: lost {{}} since {{}}, may lose {{}}{words}",
                metric,
                rule.loss(old, new),
                shown,
                rule.since_reference,
            )
            yield Finding(Level.NOTE if explained else Level.FAIL, text)


def _is_absent(revision: Revision, file: str, name: str) -> bool:
    """Whether a required metric is missing: in the next change, any value of it would pass."""
    values = revision.metrics.get(file, {})
    return isinstance(values, dict) and name not in values
