"""Install a lock file into .venv, as the Makefile does: `python3 install.py requirements.lock`.

Every file must match a hash in the lock file. uv is several times as fast as pip; pip takes over if uv fails, or if pip
is configured with an index that uv would not use.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
# Exists while something is being installed; found at the start, it means that the last installation was killed.
UNFINISHED = ENVIRONMENT / "unfinished"
# uv itself, and what builds the packages that have no wheels.
TOOLS = ("setuptools", "uv")


def say(message: str) -> None:
    """Print to standard error, where uv and pip show their progress."""
    print(f"install: {message}", file=sys.stderr, flush=True)


def runs(*command: str | Path) -> bool:
    """Run a command with its output shown; true if it succeeds."""
    return subprocess.run(command).returncode == 0


def is_whole() -> bool:
    """Whether .venv is complete: a killed installation leaves the mark, or no pip."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0


def make_environment() -> None:
    """Make .venv with the Python that runs this."""
    say(f"making .venv with Python {sys.version.split()[0]}")
    ENVIRONMENT.mkdir()
    UNFINISHED.touch()
    try:
        # In this process: its Python may be that of the .venv just removed, which cannot start another.
        venv.create(ENVIRONMENT, with_pip=True)
    except subprocess.CalledProcessError as error:
        sys.exit(f"install: this Python cannot make a virtual environment ({error}); on Debian install python3-venv")


def locked(name: str) -> str:
    """The lines of one package in the largest lock file: its version and its hashes."""
    return re.findall(rf"^{name}==.*(?:\n +.*)*\n", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)[0]


def is_unchanged() -> bool:
    """Whether nothing was installed or removed since the mark: then a download failed, and .venv is still whole."""
    folders = ENVIRONMENT.glob("lib/python*/site-packages")
    return all(folder.stat().st_mtime <= UNFINISHED.stat().st_mtime for folder in folders)


def install_tools() -> bool:
    """Install TOOLS with pip."""
    wanted = ENVIRONMENT / "tools.lock"
    wanted.write_text("".join(map(locked, TOOLS)))
    return runs(PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", wanted)


def pip_has_its_own_index() -> bool:
    """Whether pip is configured with an index of its own, and uv is not."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys():
        return False
    settings = subprocess.check_output([PYTHON, "-m", "pip", "config", "list"], text=True)
    return re.search(r"\.(index-url|no-index)=", settings) is not None


def install_with_uv(lock: Path) -> bool:
    """Install with uv, which shows bars in a terminal; elsewhere, drop its lines about small packages."""
    # Without bytecode, the first import would take two to three times as long.
    command: list[str | Path] = [ENVIRONMENT / "bin" / "uv", "pip", "install", "--python", PYTHON, "--compile-bytecode"]
    command += ["--require-hashes", "--no-build-isolation", "-r", lock]
    if sys.stderr.isatty():
        return runs(*command)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as uv:
        assert uv.stderr
        for line in uv.stderr:
            if not line.startswith(" ") and "KiB" not in line:
                print(line, end="", file=sys.stderr, flush=True)
    return uv.returncode == 0


def install_with_pip(lock: Path) -> bool:
    """Install with pip, which shows a bar for each package in a terminal and nothing elsewhere."""
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    building = ["--no-build-isolation", "--use-pep517"]
    return runs(PYTHON, "-m", "pip", "install", *quiet, "--require-hashes", *building, "-r", lock)


def install(lock: Path) -> bool:
    """Install what the lock file lists into .venv, which is created again if it is missing or broken."""
    if ENVIRONMENT.is_symlink() and not ENVIRONMENT.exists():
        ENVIRONMENT.unlink()
    if ENVIRONMENT.exists() and not is_whole():
        say(".venv is incomplete or broken: creating it again")
        if ENVIRONMENT.is_symlink():
            ENVIRONMENT.unlink()
        else:
            shutil.rmtree(ENVIRONMENT)
    if not ENVIRONMENT.exists():
        make_environment()
    UNFINISHED.touch()
    began = time.monotonic()
    say(f"{lock.name} into .venv")
    if not install_tools():
        return False
    UNFINISHED.touch()
    if pip_has_its_own_index():
        say("pip has an index of its own: installing with pip, which takes minutes")
        done = install_with_pip(lock)
    else:
        done = install_with_uv(lock)
        if not done:
            say("uv failed: trying pip, which takes minutes")
            done = install_with_pip(lock)
    if done:
        say(f"done in {time.monotonic() - began:.0f} s")
    return done


def main(lock: Path) -> int:
    """Install the lock file, one installation at a time; returns the exit code."""
    with Path(__file__).open(encoding="utf-8") as itself:
        fcntl.flock(itself, fcntl.LOCK_EX)
        done = install(lock)
        if done or is_unchanged():
            UNFINISHED.unlink()
    return 0 if done else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected a lock file: python3 install.py requirements.lock")
    sys.exit(main(Path(sys.argv[1])))
