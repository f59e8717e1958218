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

NAME = re.compile(r"[\w.-]*(requirements|constraints)[\w.-]*\.(txt|in|lock)", re.ASCII)
# A package, extras and operator, its version, the rest of the line, and the lines of its hashes.
PIN = re.compile(
    r"^([A-Za-z0-9][\w.-]*)([^\S\n]*(?:\[[^\]\n]*\][^\S\n]*)?==[^\S\n]*)([\w.!+-]+)(.*)"
    r"((?:\n +--hash=sha256:[0-9a-f]{64}(?: \\)?$)*)",
    re.ASCII | re.MULTILINE,
)


class Bump(NamedTuple):
    """A package whose pinned version differs."""

    name: str
    before: str
    now: str


def versions(change: Change) -> Iterator[Finding]:
    """Receipts with versions other than those that the change pins. `files` reports whatever else it installs."""
    wrong: dict[Text, list[str]] = {}
    files = filter(is_of_pins, change.edited)
    bumps = {bump for path in files for bump in other_versions(change.base, change.head, path) or ()}
    for stage, receipt in change.head.receipts.items():
        if isinstance(receipt, UserError):
            continue  # The check `receipts` reports the error.
        old = change.base.receipts.get(stage)
        if isinstance(old, Receipt) and (silent := sorted(old.versions.keys() - receipt.versions.keys())):
            yield unsure("{} no longer has the version of {}", receipt_path(stage), silent)
        if others := receipt.machine.get("unpinned"):
            wrong.setdefault(Text("made on purpose with {}", str(others)), []).append(stage)
            continue
        used = {_canonical(name): version for name, version in receipt.versions.items()}
        for bump in sorted(bumps):
            version = used.get(bump.name, bump.now)
            if bump.now not in (version, version.split("+")[0]):  # A pin without a build, such as +cpu, allows any.
                text = Text("made with {}, {} is pinned", f"{bump.name} {version}", bump.now)
                wrong.setdefault(text, []).append(stage)
    for text, stages in wrong.items():
        yield unsure("{}: {}", stages, text)


def is_of_pins(path: str) -> bool:
    """Whether a path is a file next to dvc.yaml that pins packages, judging by its name."""
    return NAME.fullmatch(path) is not None


def other_versions(base: Revision, head: Revision, path: str) -> list[Bump] | None:
    """The versions that differ in a requirements file; None if anything else differs.

    Pip's grammar is not parsed: both texts must have the same lines, and equal versions must have equal hashes.
    """
    # Each is a list of what is between the pins, and the five groups of each pin.
    old, new = (PIN.split(revision.text(path) or "") for revision in (base, head))
    if any(old[group::6] != new[group::6] for group in (0, 1, 2, 4)):
        return None
    names, pins = old[1::6], (zip(one[3::6], one[5::6], strict=True) for one in (old, new))
    bumps = []
    for name, (before, old_hashes), (now, new_hashes) in zip(names, *pins, strict=True):
        if before != now and bool(old_hashes) == bool(new_hashes):
            bumps.append(Bump(_canonical(name), before, now))
        elif (before, old_hashes) != (now, new_hashes):
            return None
    return bumps


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
