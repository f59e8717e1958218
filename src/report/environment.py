"""What is installed and what runs the checks: whoever edits it decides what every stage and every check does."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

from src.core.errors import UserError
from src.core.receipt import receipt_path
from src.report.change import Change
from src.report.finding import Finding, Text, joined, note, unsure
from src.revision.receipts import Receipt
from src.revision.revision import Revision

MAX_BYTES = 2_000_000
# Files by which packages are installed, and those that run the installation and the checks.
PINS = re.compile(r"(requirements|constraints)[\w.-]*\.(txt|in|lock)|[\w.-]*requirements[\w.-]*\.txt")
INSTALLING = re.compile(
    r"install\.py|(GNU)?[Mm]akefile|.*\.mk|setup\.(py|cfg)|pip\.conf|uv\.(toml|lock)|poetry\.lock|Pipfile(\.lock)?|pylock.*\.toml"
    r"|environment\.ya?ml|tox\.ini|noxfile\.py|Dockerfile.*|\.python-version|\.pre-commit-config\.ya?ml|sitecustomize\.py"
    r"|usercustomize\.py|.*\.pth"
)
CHECKING = (".github/", ".ci/", ".gitlab-ci.yml", ".circleci/", "requirements/")
TOOLS = ("src/audit/", "src/report/", "src/revision/", "src/noise/")
PROJECT = "pyproject.toml"
UP = re.compile(r"^(\.\./)+")  # above the project, in git's top folder
# Its tables that decide what is installed; the others are settings of linters and the like.
INSTALLS = ("project", "build-system", "dependency-groups")
INSTALLING_TOOLS = ("uv", "pip", "poetry", "pdm", "hatch", "setuptools", "pixi", "flit")
# One requirement: its name and extras, an exact version, and the rest up to a comment.
NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?")
EXACT = re.compile(r"\s*==\s*([^\s;,\\]+)\s*")
HASH = re.compile(r"\s--hash[= ]\S+")


def installed(change: Change) -> Iterator[Finding]:
    """Edits of what is installed: versions by name; more than a version cannot be judged by hashes."""
    bumps: dict[str, Text] = {}
    for path in _edited(change):
        name = PurePosixPath(path).name
        if is_pins(path):
            more, bumped = _pin_changes(*(_text(revision, path) for revision in (change.base, change.head)))
            bumps |= bumped
            if more:
                yield unsure("what is installed changed, read it: {}: {}", path, more)
        elif name == PROJECT and _installing_tables(change.base, path) == _installing_tables(change.head, path):
            continue
        elif name == PROJECT or INSTALLING.fullmatch(name) or UP.sub("", path).startswith(CHECKING):
            yield unsure("what installs packages or runs the checks changed, read it: {}", path)
    if bumps:
        yield note("other versions are installed: {}", joined(bumps.values(), ", "))


def is_pins(path: str) -> bool:
    """Whether a file names the packages to install."""
    return PINS.fullmatch(PurePosixPath(path).name) is not None


def tools(change: Change) -> Iterator[Finding]:
    """Edits of the checks' own code. The comment is made by the base's copy; other checks by the branch's."""
    edited = [path for path in _edited(change) if path.startswith(TOOLS)]
    if edited:
        yield note("this change edits its own checks, which then prove little: {}", edited)


def versions(change: Change) -> Iterator[Finding]:
    """Versions that made the results, against those that the head pins."""
    pins = {path: _text(change.head, path) for path in _pin_files(change)}
    before = {path: _text(change.base, path) for path in pins}
    wrong: dict[Text, list[str]] = {}
    for stage, receipt in change.head.receipts.items():
        if isinstance(receipt, UserError):
            continue  # reported by the check of receipts
        old = change.base.receipts.get(stage)
        if isinstance(old, Receipt) and (silent := sorted(set(old.versions) - set(receipt.versions))):
            yield unsure("{} no longer has the version of {}", receipt_path(stage), silent)
        for text in (text for path in pins for text in _against_pins(receipt, path, before[path], pins[path])):
            wrong.setdefault(text, []).append(stage)
    for text, stages in wrong.items():
        yield unsure("{}: {}", stages, text)


def _edited(change: Change) -> list[str]:
    old, new = change.base.tree.entries, change.head.tree.entries
    return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


def _pin_files(change: Change) -> list[str]:
    """Pins at the top that tell what stages run with: requirements.txt and its lock."""
    found = {*change.base.tree.entries, *change.head.tree.entries}
    return [path for path in ("requirements.txt", "requirements.lock") if path in found]


def _text(revision: Revision, path: str) -> str:
    return revision.text(path, MAX_BYTES) or ""


def _against_pins(receipt: Receipt, path: str, old: str, new: str) -> Iterator[Text]:
    """Packages that a file of pins has in another version than the results were made with, or no longer pins."""
    before, now = _versions(old), _versions(new)
    for name, version in receipt.versions.items():
        made_with, key = version.split("+")[0], _canonical(name)
        # Several pins of a package differ by platform, which the author of the branch chooses.
        pins = now.get(key, [None] if key in before else [])
        others = [pin for pin in pins if pin is None or pin.split("+")[0] != made_with]
        if others:
            words = Text(", {} pins {}", path, others[0]) if others[0] else Text(", which {} does not pin", path)
            yield Text("made with {}{}", f"{name} {version}", words)


def _versions(text: str) -> dict[str, list[str | None]]:
    """Version of each requirement by the package's name; None if it allows more than one version."""
    found: dict[str, list[str | None]] = {}
    for name, _, version, _ in _requirements(text):
        found.setdefault(name, []).append(version)
    return found


def _pin_changes(old: str, new: str) -> tuple[list[str], dict[str, Text]]:
    """(lines that are more than another version, words on other versions by package)."""
    before, now = _entries(old), _entries(new)
    more, bumped = [], {}
    for key in dict.fromkeys([*before, *now]):
        one, other = before.get(key), now.get(key)
        if one == other:
            continue
        versions = [entry[0] for entry in (one, other) if entry]
        if len(versions) == 2 and None not in versions and versions[0] != versions[1]:
            bumped[key[0]] = Text("{} {} → {}", key[0], *versions)
        else:
            more.append(" ".join(part for part in key if part))
    return more, bumped


def _entries(text: str) -> dict[tuple[str, str], tuple[str | None, tuple[str, ...]]]:
    """(version, hashes) by (package, everything else on its line). A line that is not a requirement is its own name."""
    found: dict[tuple[str, str], tuple[str | None, tuple[str, ...]]] = {}
    for name, rest, version, hashes in _requirements(text):
        key = (name, rest)
        while key in found:  # the same requirement again
            key = (name, f"{key[1]} again")
        found[key] = (version, hashes)
    return found


def _requirements(text: str) -> Iterator[tuple[str, str, str | None, tuple[str, ...]]]:
    """(package, extras and markers, exact version or None, sorted hashes) of each line; an option is a whole line."""
    # As pip does: lines are joined at a backslash before comments are dropped, but no comment goes on in the next line.
    for line in re.sub(r"(?m)^((?!\s*#).*)\\\r?\n", r"\1 ", text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line:
            continue
        hashes = tuple(sorted(found.strip() for found in HASH.findall(line)))
        line = " ".join(HASH.sub("", line).split())
        name = NAME.match(line)
        if line.startswith("-") or not name or "@" in line or "/" in line.split(";")[0]:
            yield line, "", None, hashes
            continue
        rest = line[name.end() :]
        exact = EXACT.match(rest)
        after = rest[exact.end() :] if exact else rest
        whole = exact and (not after or after.startswith(";")) and "*" not in exact[1]
        other = f"{name[2] or ''}{after if whole else rest}"
        yield _canonical(name[1]), other.strip(), exact[1] if exact and whole else None, hashes


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installing_tables(revision: Revision, path: str) -> object:
    """The tables of pyproject.toml that decide what is installed; its text if it cannot be read."""
    text = _text(revision, path)
    try:
        content = tomllib.loads(text)
    except ValueError:
        return text
    tools = content.get("tool", {})
    tables = {name: content[name] for name in INSTALLS if name in content}
    return tables, {name: tools[name] for name in INSTALLING_TOOLS if isinstance(tools, dict) and name in tools}
