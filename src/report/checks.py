"""All checks of a change. Each is a function from the change to its findings; the outcome is the highest level."""

import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

from src.core.errors import UserError
from src.core.receipt import receipt_path
from src.noise.measurement import NOISE, read_noise
from src.report.change import Change
from src.report.consistency import tables
from src.report.edits import files, scorer, stages
from src.report.finding import Finding, Text, fail, note, unsure
from src.report.metrics import metrics, read_metric, weigh
from src.report.pins import versions
from src.report.policy import POLICY, read_policy
from src.report.predictions import compare_predictions
from src.report.tables import read_curves
from src.revision.git import HASH, UnreadableError, run_git
from src.revision.receipts import lock_differences
from src.revision.revision import Revision, open_revision
from src.revision.stale import UNNOTICED, parts_outside_git

REPRODUCED = {
    "yes": note("reproduced: the same bytes"),
    "as-good": note("made again: not the same bytes, but as good"),
    "no": fail("not reproduced: it ran again and gave other results, or failed"),
    "not-tried": note("not reproduced: the pipeline was not run again"),
}
EDITS_RULES = "this change edits {}, by which others will be judged: read it"
Check = Callable[[Change], Iterator[Finding]]


def results(change: Change) -> Iterator[Finding]:
    """Whether there is a result to judge, and one to compare with."""
    if not change.head.pipeline.has_run:
        yield unsure(
            "{} has no stage that both dvc.yaml and dvc.lock have: there is no result to judge", change.head.name
        )
    elif not change.base.has_results:
        yield note("no baseline: {} has no results to compare with", change.base.name)


def reproduced(change: Change) -> Iterator[Finding]:
    """Whether running the pipeline again gave these results."""
    if change.reproduced != "not-tried":
        yield REPRODUCED[change.reproduced]


def lineage(change: Change) -> Iterator[Finding]:
    """Notes on the revision that the change is compared with."""
    base, tip = change.base, change.rules
    if change.merge_bases != 1:
        began = "began more than once from {}" if change.merge_bases else "has no commit in common with {}"
        yield note(f"the branch {began}: compared with that revision itself", tip.name)
    if base.commit != tip.commit:
        behind = int(run_git(change.root, "rev-list", "--count", f"{base.commit}..{tip.commit}"))
        commits = "commit" if behind == 1 else "commits"
        yield note(f"{{}} {commits} behind {{}}: compared with the commit where the branch began", behind, tip.name)


def lock(change: Change) -> Iterator[Finding]:
    """Mismatches between dvc.lock and code, params and data."""
    head = change.head
    declared = head.pipeline.stages
    if left := [stage for stage in head.pipeline.locked if stage not in declared]:
        yield fail("dvc.lock has what dvc.yaml no longer declares, delete its entry: {}", left)
    first = [mismatch for mismatch in head.stale if mismatch.stage in declared]
    if first:
        own = list(dict.fromkeys(mismatch.stage for mismatch in first))
        frozen = [stage for stage in own if declared[stage].frozen]
        then = Text(", once `dvc unfreeze` frees {}", frozen) if frozen else Text("")
        wrong = list(dict.fromkeys(Text(f"{{}} {mismatch.problem}", mismatch.subject) for mismatch in first))
        others = " and perhaps more" if len(own) < len(declared) else ""
        forced = " --force" if any(mismatch.problem in UNNOTICED for mismatch in first) else ""
        yield fail(
            f"dvc.lock is stale: `dvc repro{forced}` would run {{}}{others}{{}} ({{}})",
            own,
            then,
            wrong,
        )
    old, new = (parts_outside_git(one.pipeline, one.tree) for one in (change.base, head))
    # If the folder changed, the stage may have read the part before that, even if the part changed, too.
    if moved := [path for (stage, path), hashes in new.items() if old.get((stage, path)) != hashes]:
        yield unsure("{}: only DVC knows if it changed; let the stage depend on the whole folder outside git", moved)
    if change.base.has_results and (outdated := [*change.base.stale, *change.base.edited]):
        subjects = list(dict.fromkeys(mismatch.subject for mismatch in outdated))
        yield unsure("the base itself is out of date in {}, so its values may not be its code's", subjects)


def outputs(change: Change) -> Iterator[Finding]:
    """Results in git that do not match dvc.lock."""
    by_problem: dict[str, list[str]] = {}
    for mismatch in change.head.edited:
        by_problem.setdefault(mismatch.problem, []).append(mismatch.subject)
    old, new = change.base.tree, change.head.tree
    outs = {path for path, out in change.head.pipeline.outs.items() if not out.cached and out.kind == "outs"}
    # Git may ignore an output that is not in the cache, either. But a change must not delete it.
    if deleted := sorted(path for path in outs if old.files(path) and not new.files(path)):
        by_problem.setdefault("is missing", []).extend(deleted)
    for problem, subjects in by_problem.items():
        yield fail(f"{{}}: {problem}", subjects)


def receipts(change: Change) -> Iterator[Finding]:
    """Receipts that contradict dvc.lock."""
    head = change.head
    if not head.receipts:
        words = "no stage writes a receipt" if change.base.receipts else "neither revision has receipts"
        yield note(f"{words}: only dvc.lock says what the results were made from")
    for stage, receipt in head.receipts.items():
        locked = head.pipeline.locked.get(stage)
        if locked is None:
            continue  # The stage is stale, which is already reported.
        if isinstance(receipt, UserError):
            yield fail("{}", receipt)
        elif wrong := lock_differences(receipt, locked):
            text = "dvc.lock contradicts {} in {}: `dvc repro --force` runs {} as it is now"
            yield fail(text, receipt_path(stage), wrong, stage)


def repeats(change: Change) -> Iterator[Finding]:
    """Stages with the same inputs as in the base, but different outputs, whatever machine the receipt claims."""
    for stage, new in change.head.pipeline.locked.items():
        old = change.base.pipeline.locked.get(stage)
        if old is None or (old.command, old.deps, old.params) != (new.command, new.deps, new.params):
            continue
        shared = new.outs.keys() & old.outs.keys() - {receipt_path(stage)}
        changed = sorted(path for path in shared if old.outs[path] != new.outs[path])
        if not changed:
            continue
        advice = "; one of the two is not what this code gives, or another machine made it: run the pipeline again"
        yield unsure("{}: the same inputs gave another {}" + advice, stage, changed)


def predictions(change: Change) -> Iterator[Finding]:
    """Whether the models can be compared example by example."""
    if isinstance(change.comparison, UserError):
        yield unsure("{}", change.comparison)


def curves(change: Change) -> Iterator[Finding]:
    """Whether the training history is missing or malformed."""
    drawn = change.policy.curves
    if drawn:
        read_curves(change.head, drawn.file, drawn.columns)
    yield from ()


def recorded(change: Change) -> Iterator[Finding]:
    """Required metrics that no stage writes, or another stage than in the base: they may be written by hand."""
    old, new = change.base.pipeline.stages, change.head.pipeline.stages
    for file, stage in change.scoring.items():
        maker = change.head.pipeline.producer(file)
        is_replaced = maker and maker not in old and stage not in new  # The check `stages` reports this.
        if stage is None or not (maker == stage or is_replaced):
            by = Text("the stage {}", stage) if stage else Text("any stage")
            yield fail("{} has required metrics, but dvc.lock records no run of {} that made it", file, by)


def since_reference(change: Change) -> Iterator[Finding]:
    """Small losses that have accumulated since the policy's reference."""
    name = change.policy.reference
    if name is None or all(rule.since_reference is None for rule in change.policy.rules.values()):
        return
    # Not a branch, which would move with each loss.
    place = name if HASH.fullmatch(name) else f"refs/tags/{name}"
    try:
        with open_revision(change.root, place, name) as reference:
            yield from _lost_since(reference, change)
    except UserError as error:
        advice = "; set `reference` in {} to a tag or full commit hash of this clone"
        yield unsure("losses since the policy's reference: {}" + advice, error, POLICY)


def data(change: Change) -> Iterator[Finding]:
    """Test data that differs between the revisions."""
    if not change.base.has_results:
        return
    if unknown := [path for path, oid in change.base.data_hashes(change.data).items() if oid is None]:
        yield unsure("{} is in no dvc.lock or .dvc file of {}: it may be other data", unknown, change.base.name)
    if change.other_data:
        advice = "apply only this part of the change to the base, run `dvc repro`, and compare with that"
        named = Text("" if change.policy.data else "; if a model is among them, name the data as `data` in {}", POLICY)
        yield unsure("{} changed, not comparable: " + advice + "{}", change.other_data, named)


def policy(change: Change) -> Iterator[Finding]:
    """Whether there is a valid policy for the next change."""
    head = change.head
    if change.policy and not change.has_own_policy:
        yield note("judged by the head's {}: the base has none", POLICY)
    if not head.tree.has(POLICY):
        yield fail("{}: is missing in {}", POLICY, head.name)
        return
    try:
        found = read_policy(head)
    except UserError as error:
        yield fail("{}", error)
        return
    if change.has_own_policy and _is_edited(change, POLICY):
        yield unsure(EDITS_RULES, POLICY)
    # If a metric is missing now, any value would pass in the next change.
    values = {file: head.metrics.get(file, {}) for file, _ in found.required}
    absent = [name for file, name in found.required if isinstance(own := values[file], dict) and name not in own]
    if absent:
        yield fail("{} of {}: requires what is missing: {}", POLICY, head.name, absent)


def noise(change: Change) -> Iterator[Finding]:
    """Whether the measured noise for the next change is valid."""
    _ = change.measured  # Raises if the base's is malformed.
    if not _is_edited(change, NOISE):
        return
    try:
        read_noise(change.head)
    except UserError as error:
        yield fail("{}", error)
    else:
        yield unsure(EDITS_RULES, NOISE)


# These checks apply only if the head has results.
OF_RESULTS: tuple[Check, ...] = (
    *(lock, outputs, receipts),  # If these fail, the others are consequences.
    *(recorded, metrics, since_reference),
    *(tables, predictions, curves),
)
CHECKS: tuple[Check, ...] = (
    *(results, reproduced, policy),
    *OF_RESULTS,
    *(data, scorer, repeats, versions, stages, files, noise, lineage),
)


def find(change: Change) -> list[Finding]:
    """Run all checks; returns unique findings, highest level first. A check that breaks is unsure."""
    every = [replace(finding, check=check.__name__) for check in CHECKS for finding in _run(check, change)]
    found: dict[Text, Finding] = {}
    for finding in sorted(every, key=lambda finding: -finding.level):
        found.setdefault(finding.text, finding)
    return list(found.values())


def _run(check: Check, change: Change) -> Iterator[Finding]:
    try:
        if check not in OF_RESULTS or change.head.pipeline.has_run:
            yield from check(change)
    except UserError as error:
        yield unsure("{}", error)
    except (MemoryError, UnreadableError):
        raise  # Other checks would not have more memory, nor a whole clone.
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        yield unsure("the check {} broke: {}", check.__name__, RuntimeError(f"{type(error).__name__}: {error}"))


def _is_edited(change: Change, path: str) -> bool:
    """Whether a file is neither that of the base's tip nor that of the commit where the branch began."""
    own, *others = (revision.tree.entries.get(path) for revision in (change.head, change.rules, change.base))
    return own not in others


def _lost_since(reference: Revision, change: Change) -> Iterator[Finding]:
    """Losses since the policy's reference."""
    name = change.policy.reference or ""
    shown = name[:7] if reference.commit == name else name
    if reference.data_hashes(change.data) != change.head.data_hashes(change.data):
        advice = "; name a commit with results of this data as `reference` in {}"
        yield unsure("the policy's reference {} was scored on other data" + advice, shown, POLICY)
        return
    for (file, metric), rule in change.policy.rules.items():
        most = rule.since_reference
        old, new = (read_metric(revision, file, metric) for revision in (reference, change.head))
        if most is None:
            continue
        if isinstance(old, Text) or isinstance(new, Text):
            yield unsure("{}: cannot be compared with the policy's reference {}", metric, shown)
        elif rule.exceeds(old, new, most):
            compared = compare_predictions(reference, change.head, change.policy.examples) if rule.mcnemar else None
            p_chance = compared.p_value if compared else None
            level, why = weigh(new - old, p_chance, change.noise(reference, file, metric))
            text = "{}: lost {} since the policy's reference {}, may lose {}: {}"
            yield Finding(level, Text(text, metric, rule.loss(old, new), shown, most, why))
