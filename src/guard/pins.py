"""Versions of the packages that compute: requirements.lock pins them, and through a list of them they are an input.

Stage check writes the list. Stages that compute depend on it, so another version makes them run, by DVC's own rules.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from src.core.errors import UserError

# A dependency of the stages that compute.
PINS = "data/packages.txt"
# Names packages whose installed version is used on purpose, separated by commas. The receipt tells.
UNPINNED = "UNPINNED"


def pinned_versions(lock: Path, names: Iterable[str]) -> dict[str, str]:
    """The version that a lock file pins for each package, on this machine and for this Python.

    Raises:
        UserError: If it pins none or several, or is no such file.
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
    for name in names:
        match sorted(found.get(canonicalize_name(name), ())):
            case [pinned]:
                versions[name] = pinned
            case several:
                raise UserError(f"{lock}: expected one pinned version of {name}, got {several or 'none'}; `make lock`")
    return versions


def format_pins(versions: Mapping[str, str]) -> str:
    """Text of the list."""
    return "".join(f"{name}=={versions[name]}\n" for name in sorted(versions))


def read_pins(path: Path) -> dict[str, str]:
    """Versions by name, as the list has them."""
    return dict(line.split("==", 1) for line in path.read_text(encoding="utf-8").splitlines())


def check_installed(pins: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Check that the pinned versions are installed.

    Returns:
        What differs on purpose, for the receipt: `2.13.0 instead of 2.15.0`, by package.

    Raises:
        UserError: If anything else differs.
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
