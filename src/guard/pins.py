"""Versions of the packages that compute, pinned by requirements.lock and tracked as an input.

Stage check writes a list of the versions. Stages that compute depend on it, so DVC reruns them if a version changes.
"""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from src.core.errors import UserError

# The list, a dependency of the stages that compute.
PINS = "data/packages.txt"
# Comma-separated names of packages whose installed version is used on purpose; the receipt records them.
UNPINNED = "UNPINNED"


def read_requirements(path: Path) -> dict[str, SpecifierSet]:
    """Read the versions that a requirements or lock file allows on this machine and for this Python, by package.

    Raises:
        UserError: If the file is malformed.
    """
    text, found = path.read_text(encoding="utf-8", errors="replace"), dict[str, SpecifierSet]()
    # Lines that are no options, without comments and without the backslash before hashes.
    for line in re.findall(r"^[ \t]*(\w.*?)[ \t]*(?:\\|[ \t]#.*)?$", text, re.MULTILINE):
        try:
            needed = Requirement(line)
        except InvalidRequirement as error:
            raise UserError(f"{path}: expected NAME==VERSION, got {line!r}; fix it, then `make lock`") from error
        if not needed.marker or needed.marker.evaluate():
            name = canonicalize_name(needed.name)
            found[name] = found.get(name, SpecifierSet()) & needed.specifier
    return found


def pinned_versions(lock: Path, wanted: Mapping[str, SpecifierSet]) -> dict[str, str]:
    """Read the version that a lock file pins for each package.

    Raises:
        UserError: If a package has no pinned version or several, or not a wanted one, or the file is malformed.
    """
    found, versions = read_requirements(lock), {}
    for name, allowed in wanted.items():
        match sorted(one.version for one in found.get(name, ()) if one.operator == "=="):
            case [pinned] if allowed.contains(pinned, prereleases=True):
                versions[name] = pinned
            case others:
                got = ", ".join(others) or "none"
                raise UserError(f"{lock}: expected one version of {name}{allowed}, got {got}; `make lock repro`")
    return versions


def format_pins(versions: Mapping[str, str]) -> str:
    """Format the list."""
    return "".join(f"{name}=={versions[name]}\n" for name in sorted(versions))


def read_pins(path: Path) -> dict[str, str]:
    """Read the list as versions by name."""
    return dict(line.split("==", 1) for line in path.read_text(encoding="utf-8").splitlines())


def check_installed(pins: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Check that the pinned versions are installed.

    Returns:
        Intended differences by package, for the receipt: `2.13.0 instead of 2.15.0`.

    Raises:
        UserError: If another package differs.
    """
    installed = {name: version(name) for name in pins}
    others = {name: found for name, found in installed.items() if found != pins[name]}
    allowed = {canonicalize_name(name.strip()) for name in environ.get(UNPINNED, "").split(",")}
    if wrong := [name for name in others if canonicalize_name(name) not in allowed]:
        differences = ", ".join(
            f"{name} {others[name]} is installed, requirements.lock pins {pins[name]}" for name in wrong
        )
        raise UserError(f"{differences}; run `make repro`, or set {UNPINNED}={','.join(others)} to use it on purpose")
    return {name: f"{others[name]} instead of {pins[name]}" for name in others}
