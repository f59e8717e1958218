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


def pinned_versions(lock: Path, wanted: Mapping[str, SpecifierSet]) -> dict[str, str]:
    """Read the version that a lock file pins for each package, on this machine and for this Python.

    Raises:
        UserError: If a package has no pinned version or several, or not a wanted one, or the file is malformed.
    """
    lines = re.findall(r"^\w.*==[^#\\\n]*", lock.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    found: dict[str, set[str]] = {}
    for line in lines:
        try:
            pin = Requirement(line)
        except InvalidRequirement as error:
            raise UserError(f"{lock}: expected NAME==VERSION, got {line!r}; `make lock`") from error
        if not pin.marker or pin.marker.evaluate():
            found.setdefault(canonicalize_name(pin.name), set()).add(str(pin.specifier).removeprefix("=="))
    versions = {}
    for name, allowed in wanted.items():
        match sorted(found.get(canonicalize_name(name), ())):
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
