"""Install a lock file into .venv, as the Makefile does: `python3 install.py requirements.lock`.

Every file must match a hash in the lock file. uv is several times as fast as pip; pip takes over if uv fails, or if pip
is configured with an index that uv would not use.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whichever `python3` is first on PATH runs this
    sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; use: make repro PYTHON=python3.11")

import fcntl
import os
import re
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
# Exists while something is being installed; found at the start, it means that the last installation was killed.
UNFINISHED = ENVIRONMENT / "unfinished"
# uv itself, and what builds the packages that have no wheels.
TOOLS = ("setuptools", "uv")


def run(*command: str | Path) -> bool:
    """Run a command with its output shown; true if it succeeds."""
    return subprocess.run(command).returncode == 0


def is_whole() -> bool:
    """Whether .venv is complete and was made here: its scripts name the folder that they were made in."""
    pip = ENVIRONMENT / "bin" / "pip"
    if UNFINISHED.exists() or not pip.exists() or f"{ENVIRONMENT}/" not in pip.read_text(encoding="utf-8"):
        return False
    return PYTHON.exists() and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0


def is_unchanged() -> bool:
    """Whether nothing was installed or removed since the mark: then a download failed, and .venv is still whole."""
    folders = ENVIRONMENT.glob("lib/python*/site-packages")
    return all(folder.stat().st_mtime <= UNFINISHED.stat().st_mtime for folder in folders)


def locked(name: str) -> str:
    """The lines of one package in the largest lock file: its version and its hashes."""
    text = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    return re.findall(rf"^{name}==.*(?:\n +.*)*\n", text, re.MULTILINE)[0]


def pip_has_its_own_index() -> bool:
    """Whether pip is configured with an index of its own, and uv is not."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys():
        return False
    settings = subprocess.check_output([PYTHON, "-m", "pip", "config", "list"], text=True)
    return re.search(r"\.(index-url|no-index)=", settings) is not None


def install(lock: Path) -> bool:
    """Install what the lock file lists; without bytecode, the first import would take two to three times as long."""
    tools = ENVIRONMENT / "tools.lock"
    tools.write_text("".join(map(locked, TOOLS)), encoding="utf-8")
    options = ["install", "--require-hashes", *([] if sys.stderr.isatty() else ["--quiet"])]
    pip: list[str | Path] = [PYTHON, "-m", "pip", *options]
    uv: list[str | Path] = [ENVIRONMENT / "bin" / "uv", "pip", *options, "--python", PYTHON, "--compile-bytecode"]
    if not run(*pip, "--no-deps", "-r", tools):
        return False
    UNFINISHED.touch()
    if not pip_has_its_own_index() and run(*uv, "--no-build-isolation", "-r", lock):
        return True
    print("install: with pip, which takes minutes", file=sys.stderr, flush=True)
    return run(*pip, "--no-build-isolation", "--use-pep517", "-r", lock)


def main(lock: Path) -> int:
    """Install the lock file, one installation at a time; returns the exit code."""
    with Path(__file__).open(encoding="utf-8") as itself:
        fcntl.flock(itself, fcntl.LOCK_EX)
        if not is_whole():
            print(f"install: making .venv with Python {sys.version.split()[0]}", file=sys.stderr, flush=True)
            try:
                # In this process: its Python may be that of the .venv that is cleared, which cannot start another.
                venv.create(ENVIRONMENT, clear=True, with_pip=True)
            except subprocess.CalledProcessError as error:
                sys.exit(
                    f"install: this Python cannot make a virtual environment ({error}); on Debian install python3-venv"
                )
        print(f"install: {lock.name} into .venv", file=sys.stderr, flush=True)
        UNFINISHED.touch()
        done = install(lock)
        if done or is_unchanged():
            UNFINISHED.unlink()
    return 0 if done else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected a lock file: python3 install.py requirements.lock")
    sys.exit(main(Path(sys.argv[1])))
