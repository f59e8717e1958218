"""The versions of packages that files of requirements pin, and those that the results were made with."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from src.core.errors import UserError
from src.core.receipt import receipt_path
from src.report.change import Change
from src.report.finding import Finding, Text, unsure
from src.revision.pipeline import upwards
from src.revision.receipts import Receipt
from src.revision.revision import Revision
from src.revision.tree import is_elsewhere

MAX_BYTES = 2_000_000
FILES_OF_PINS = GitIgnoreSpec.from_lines(
    f"{name}*.{ending}" for name in ("*requirements", "constraints") for ending in ("txt", "in", "lock")
)
# Those that tell what stages run with.
USED = ("requirements.txt", "requirements.lock")
PIN = re.compile(r"([a-z0-9][\w.-]*)\s*(\[[^\]]*\])?\s*==\s*([\w.!+-]+)\s*(;.*)?", re.ASCII | re.IGNORECASE)
HASH = re.compile(r"\s--hash[= ]\S+")
# What may be a path: pip takes options cut short, several on a line, names in quotes and addresses.
BETWEEN_WORDS = re.compile(r"[\s'\"=@;,\[\]]+|file:/{0,2}")
ARCHIVES = (".whl", ".zip", ".gz", ".bz2", ".xz", ".tar")
CODING = re.compile(r"#.*coding[:=]")  # in the first two lines, it tells pip how to decode the file


class Pin(NamedTuple):
    """One requirement of exactly one version; an option, or anything else, is a name of its own without a version."""

    name: str
    rest: str
    version: str | None
    hashes: tuple[str, ...]


def versions(change: Change) -> Iterator[Finding]:
    """Versions that made the results, against those that the head pins."""
    wrong: dict[Text, list[str]] = {}
    pins = {path: [_versions(revision, path) for revision in (change.base, change.head)] for path in USED}
    for stage, receipt in change.head.receipts.items():
        if isinstance(receipt, UserError):
            continue  # reported by the check of receipts
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
    """Whether a file has the name of one that pins packages. A folder of that name makes nothing in it one."""
    return FILES_OF_PINS.match_file(PurePosixPath(path).name) and not is_elsewhere(path)


def named(revision: Revision) -> set[str]:
    """Files and folders that files of requirements name, and those that these files name.

    Raises:
        UserError: If one cannot be read.
    """
    every = {part for path in revision.tree.entries for part in upwards(path)}
    found: set[str] = set()
    left = [path for path in revision.tree.entries if is_of_pins(path)]
    while left:
        path = left.pop()
        words = [word for pin in _pins(revision, path) if not pin.version for word in BETWEEN_WORDS.split(pin.name)]
        # Relative to the file, or to the folder where pip runs. -rmore.txt is an option with its name.
        new = {
            posixpath.normpath(posixpath.join(folder, name))
            for word in words
            for name in (word, word[2:] if word.startswith("-") else "")
            for folder in (posixpath.dirname(path), "")
        }
        new = {name for name in new & every - found if name.strip("./")}
        found |= new
        left += [name for name in new if name in revision.tree.entries and not name.endswith(ARCHIVES)]
    return found


def changed_pins(base: Revision, head: Revision, path: str) -> tuple[list[str], list[Text]]:
    """(requirements that changed in more than their version, words on other versions)."""
    old, new = (Counter(_pins(revision, path)) for revision in (base, head))
    changes: dict[tuple[str, str], tuple[list[str | None], list[str | None]]] = {}
    for side, pins in enumerate((old - new, new - old)):
        for pin in pins.elements():
            changes.setdefault((pin.name, pin.rest), ([], []))[side].append(pin.version)
    more, bumped = [], []
    for (name, rest), (before, now) in changes.items():
        if len(before) == len(now) == 1 and before != now:
            bumped.append(Text("{} {} → {}", name, *before, *now))
        else:
            more.append(f"{name} {rest}".strip())
    # Of several options, pip takes the last.
    options, now_options = ([pin.name for pin in _pins(one, path) if not pin.version] for one in (base, head))
    if not more and options != now_options:
        more.append("the order of its options")
    return more, bumped


def _against_pins(receipt: Receipt, path: str, before: dict[str, set[str]], now: dict[str, set[str]]) -> Iterator[Text]:
    """Packages that a file pins in another version than the results were made with, or no longer pins."""
    for name, version in receipt.versions.items():
        key = _canonical(name)
        # A pin without a build, such as +cpu, is one of any. Several pins of a package differ by platform, which the
        # author of the branch chooses.
        others = now.get(key, set()) - {version, version.split("+")[0]}
        if others:
            yield Text("made with {}, {} pins {}", f"{name} {version}", path, min(others))
        elif key in before and key not in now:
            yield Text("made with {}, which {} does not pin", f"{name} {version}", path)


def _versions(revision: Revision, path: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for pin in _pins(revision, path):
        if pin.version:
            found.setdefault(pin.name, set()).add(pin.version)
    return found


def _pins(revision: Revision, path: str) -> list[Pin]:
    return _parse(revision.text(path, MAX_BYTES) or "")


# Both revisions mostly have the same files, of which several checks ask.
@lru_cache(maxsize=8)
def _parse(text: str) -> list[Pin]:
    pins = [Pin(line, "", None, ()) for line in text.splitlines()[:2] if CODING.match(line)]
    for line in _joined_lines(text):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        hashes = tuple(sorted(HASH.findall(line)))
        line = " ".join(HASH.sub("", line).split())
        if pin := PIN.fullmatch(line):
            name, extras, version, marker = pin.groups("")
            pins.append(Pin(_canonical(name), extras + marker, version, hashes))
        elif line or hashes:
            pins.append(Pin(line, "", None, hashes))
    return pins


def _joined_lines(text: str) -> Iterator[str]:
    """As pip joins them: at a backslash, before comments are dropped; but no comment goes on in the next line."""
    begun = ""
    for line in text.splitlines():
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            begun += line.strip("\\")
        else:
            yield f"{begun} {line}" if is_comment else begun + line
            begun = ""
    yield begun


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
