"""Checks the stages' receipts against dvc.lock, and the versions that made the results against the branch's pins."""

import re

from src.core.errors import UserError
from src.core.receipt import parse_receipt, receipt_path, why_void
from src.report.document import Data, Message, Sentence, listed
from src.report.revision import Revision
from src.report.verdict import Outcome, Reason
from src.revision.parsing import parse_json
from src.revision.pipeline import Locked

# One requirement: its name, and all that follows up to a comment or a line break.
REQUIREMENT = re.compile(r"^[ \t]*([A-Za-z0-9][A-Za-z0-9._-]*)([^#\n]*)", re.MULTILINE)
PIN = re.compile(r"\s*==\s*([^\s;,\\]+)\s*(\\|;.*|--.*)?")
MAX_NAMED = 3


def receipt_reasons(base: Revision, head: Revision) -> list[Reason]:
    """Where the receipts of the head contradict its dvc.lock or its pins."""
    if not head.receipts:
        words = "no stage leaves a receipt" if base.receipts else "neither revision has receipts"
        return [Reason(Outcome.PASS, [f"{words}: only dvc.lock says what the results were made from"])]
    return [reason for stage in head.receipts for reason in _of_stage(stage, base, head)]


def _of_stage(stage: str, base: Revision, head: Revision) -> list[Reason]:
    text, locked = head.receipts[stage], head.pipeline.locked.get(stage)
    if locked is None:
        return []  # the stage is stale, which is reported already
    try:
        if text is not None:
            parse_json(text.encode(), f"{receipt_path(stage)} of {head.name}")
    except UserError as error:
        return [Reason(Outcome.FAIL, [Message(error)])]
    if wrong := why_void(stage, text, _as_in_lock(locked)):
        return [Reason(Outcome.FAIL, [Message(wrong)])]
    versions = parse_receipt(text or "")["versions"]
    silent = sorted(set(_versions(stage, base)) - set(versions))
    reasons = [Reason(Outcome.UNKNOWN, [Data(receipt_path(stage)), " no longer has the version of ", *listed(silent)])]
    wrong_pins = (_against_pins(stage, versions, path, base.pins[path], head.pins[path]) for path in head.pins)
    return [*(reasons if silent else []), *(reason for found in wrong_pins for reason in found)]


def _versions(stage: str, revision: Revision) -> dict[str, object]:
    """Versions in a receipt; none if there is no receipt."""
    try:
        return parse_receipt(revision.receipts.get(stage) or "")["versions"]
    except ValueError:
        return {}


def _against_pins(stage: str, versions: dict[str, object], path: str, old: str | None, new: str | None) -> list[Reason]:
    """Packages that one file of pins has in another version than the results were made with, or no longer pins."""
    before, now = _pins(old or ""), _pins(new or "")
    wrong: list[Sentence] = []
    for name, version in versions.items():
        made_with, key = str(version).split("+")[0], _canonical(name)
        # Several pins of a package differ by platform, which the author of the branch chooses.
        pins = now.get(key, [None] if key in before else [])
        if others := [pin for pin in pins if pin != made_with]:
            words = [f", {path} pins ", Data(others[0])] if others[0] else [f", which {path} does not pin"]
            wrong.append(["made with ", Data(f"{name} {version}"), *words])
    if not wrong:
        return []
    shown = [part for words in wrong[:MAX_NAMED] for part in ("; ", *words)][1:]
    return [Reason(Outcome.UNKNOWN, [*listed([stage]), " was ", *shown])]


def _pins(text: str) -> dict[str, list[str | None]]:
    """Version of each requirement by the package's name; None if it allows more than one version."""
    pins: dict[str, list[str | None]] = {}
    for name, rest in REQUIREMENT.findall(text):
        exact = PIN.fullmatch(re.sub(r"^\s*\[[^\]]*\]", "", rest))
        pins.setdefault(_canonical(name), []).append(exact[1].split("+")[0] if exact else None)
    return pins


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _as_in_lock(locked: Locked) -> dict[str, object]:
    return {
        "deps": [{"path": path, "md5": oid} for path, oid in locked.deps.items()],
        "params": locked.params,
        "outs": [{"path": path, "md5": oid} for path, oid in locked.outs.items()],
    }
