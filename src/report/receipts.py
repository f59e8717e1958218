"""Checks the stages' receipts against dvc.lock, and the versions that made the results against the branch's pins."""

import re

from src.core.errors import UserError
from src.core.receipt import parse_receipt, receipt_path, why_void
from src.report.document import Data, Message, listed
from src.report.pipeline import Locked
from src.report.revision import Revision
from src.report.safe_yaml import parse_json
from src.report.verdict import Outcome, Reason

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
MOST_NAMED = 3


def receipt_reasons(base: Revision, head: Revision) -> list[Reason]:
    """Where the receipts of the head contradict its dvc.lock or its pins."""
    if not head.receipts:
        words = "no stage leaves a receipt" if base.receipts else "neither revision has receipts"
        return [Reason(Outcome.PASS, [f"{words}: only dvc.lock says what the results were made from"])]
    return [reason for stage in head.receipts for reason in _of_stage(stage, head)]


def _of_stage(stage: str, head: Revision) -> list[Reason]:
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
    return [reason for path, pins in head.pins.items() for reason in _against_pins(stage, versions, path, pins or "")]


def _against_pins(stage: str, versions: dict[str, object], path: str, pins: str) -> list[Reason]:
    pinned: dict[str, list[str]] = {}
    for name, version in PIN.findall(pins):
        # A lock file has several versions of a package if they differ by platform.
        pinned.setdefault(_canonical(name), []).append(version.split("+")[0])
    others = [
        (name, str(version), pinned[_canonical(name)][0])
        for name, version in versions.items()
        if str(version).split("+")[0] not in pinned.get(_canonical(name), [str(version).split("+")[0]])
    ]
    if not others:
        return []
    words: list[str] = []
    for name, made_with, pin in others[:MOST_NAMED]:
        words += ["; " if words else "", "made with ", Data(f"{name} {made_with}"), f", {path} pins ", Data(pin)]
    return [Reason(Outcome.UNKNOWN, [*listed([stage]), " was ", *words])]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _as_in_lock(locked: Locked) -> dict[str, object]:
    return {
        "deps": [{"path": path, "md5": oid} for path, oid in locked.deps.items()],
        "params": locked.params,
        "outs": [{"path": path, "md5": oid} for path, oid in locked.outs.items()],
    }
