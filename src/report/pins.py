"""Package versions pinned by requirements files, and versions that the results were made with."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from src.core.errors import UserError
from src.core.receipt import receipt_path
from src.report.change import Change
from src.report.finding import Finding, Text, unsure
from src.revision.receipts import Receipt
from src.revision.revision import Revision

MAX_BYTES = 2_000_000
NAME = re.compile(r"[\w.-]*(requirements|constraints)[\w.-]*\.(txt|in|lock)", re.ASCII)
# Files that determine the packages of the stages.
USED = ("requirements.txt", "requirements.lock")
PIN = re.compile(r"([a-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*==\s*([\w.!+-]+)", re.ASCII | re.IGNORECASE)
HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}( \\)?")


class Line(NamedTuple):
    """A line other than a hash: the pinned package and version, if any, the rest, and the hashes that follow it."""

    name: str
    version: str
    rest: str
    hashes: list[str]


def versions(change: Change) -> Iterator[Finding]:
    """Compare the versions that made the results with those that the head pins."""
    wrong: dict[Text, list[str]] = {}
    pins = {path: [_versions(revision, path) for revision in (change.base, change.head)] for path in USED}
    for stage, receipt in change.head.receipts.items():
        if isinstance(receipt, UserError):
            continue  # The check `receipts` reports the error.
        old = change.base.receipts.get(stage)
        if isinstance(old, Receipt) and (silent := sorted(old.versions.keys() - receipt.versions.keys())):
            yield unsure("{} no longer has the version of {}", receipt_path(stage), silent)
        if others := receipt.machine.get("unpinned"):
            wrong.setdefault(Text("made on purpose with {}", str(others)), []).append(stage)
            continue
        for path, (before, now) in pins.items():
            for text in _against_pins(receipt, path, before, now):
                wrong.setdefault(text, []).append(stage)
    for text, stages in wrong.items():
        yield unsure("{}: {}", stages, text)


def is_of_pins(path: str) -> bool:
    """Whether a path is a file next to dvc.yaml that pins packages, judging by its name."""
    return NAME.fullmatch(path) is not None


def other_versions(base: Revision, head: Revision, path: str) -> list[Text] | None:
    """Describe the versions that differ in a requirements file; None if anything else differs.

    Pip's grammar is not parsed: both texts must have the same lines, and equal versions must have equal hashes.
    """
    old, new = _lines(base, path), _lines(head, path)
    if len(old) != len(new):
        return None
    found = []
    for before, now in zip(old, new, strict=True):
        if (before.rest, bool(before.hashes)) != (now.rest, bool(now.hashes)):
            return None
        if before.version != now.version:
            found.append(Text("{} {} → {}", now.name, before.version, now.version))
        elif before.hashes != now.hashes:
            return None
    return found


def _against_pins(receipt: Receipt, path: str, before: dict[str, set[str]], now: dict[str, set[str]]) -> Iterator[Text]:
    """Find packages that a file pins to a different version than the results were made with, or no longer pins."""
    for name, version in receipt.versions.items():
        key = _canonical(name)
        # A pin without a build, such as +cpu, allows any build. Several pins of a package differ by platform, which the
        # author of the branch controls.
        others = now.get(key, set()) - {version, version.split("+")[0]}
        if others:
            yield Text("made with {}, {} pins {}", f"{name} {version}", path, min(others))
        elif key in before and key not in now:
            yield Text("made with {}, which {} does not pin", f"{name} {version}", path)


def _versions(revision: Revision, path: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in _lines(revision, path):
        found.setdefault(line.name, set()).add(line.version)
    return found


def _lines(revision: Revision, path: str) -> list[Line]:
    lines: list[Line] = []
    for text in (revision.text(path, MAX_BYTES) or "").split("\n"):
        if lines and HASH.fullmatch(text):
            lines[-1].hashes.append(text)
        elif pin := PIN.match(text):
            lines.append(Line(_canonical(pin[1]), pin[2], text[: pin.start(2)] + "==" + text[pin.end(2) :], []))
        else:
            lines.append(Line("", "", text, []))
    return lines


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
