"""Install a lock file into .venv, as the Makefile does: `python3 install.py requirements.lock`.

Every file must match a hash in the lock file. uv is several times as fast as pip; pip takes over if uv fails, or if pip
is configured with an index that uv would not use.
"""

import sys

# The lock files have packages for these; whichever `python3` is first on PATH runs this.
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit(f"Python 3.11 to 3.14 is needed, this is {sys.version.split()[0]}; use: make repro PYTHON=python3.13")

import fcntl
import os
import re
import signal
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
# Exists during an installation. If it exists at the start, the last installation was killed.
UNFINISHED = ENVIRONMENT / "unfinished"
# uv itself, and the package that builds others without wheels.
TOOLS = ("setuptools", "uv")


def is_whole() -> bool:
    """Whether .venv is complete and was created here; pip's own path contains the folder that it was created in."""
    try:
        answer = subprocess.run([ENVIRONMENT / "bin" / "pip", "--version"], capture_output=True, text=True).stdout
    except OSError:
        return False
    return f" {ENVIRONMENT}/" in answer and not UNFINISHED.exists()


def refuse_to_empty_a_link() -> None:
    """Exit with one line if .venv is a link to anything but an empty folder, which is not ours to delete."""
    if ENVIRONMENT.is_symlink() and not (ENVIRONMENT.is_dir() and not any(ENVIRONMENT.iterdir())):
        sys.exit(
            f"install: .venv is a symbolic link to {ENVIRONMENT.readlink()}, which is not ours; remove the link, "
            "or link to an empty folder"
        )


def is_unchanged() -> bool:
    """Whether nothing was installed or removed since the mark, so that .venv is intact after a failed download."""
    folders = ENVIRONMENT.glob("lib/python*/site-packages")
    return all(folder.stat().st_mtime <= UNFINISHED.stat().st_mtime for folder in folders)


def locked(name: str) -> str:
    """The lines of a package in the largest lock file: its version and its hashes."""
    text = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    return re.findall(rf"^{name}==.*(?:\n +.*)*\n", text, re.MULTILINE)[0]


def pip_has_its_own_index() -> bool:
    """Whether pip is configured with its own index, and uv is not."""
    if os.environ.get("UV_DEFAULT_INDEX"):
        return False
    settings = subprocess.check_output([ENVIRONMENT / "bin" / "pip", "config", "list"], text=True)
    return re.search(r"\.(index-url|no-index)=", settings) is not None


def install(lock: Path) -> bool:
    """Install what the lock file lists; without bytecode, the first import would take two to three times as long."""
    options = ["install", "--require-hashes", *([] if sys.stderr.isatty() else ["--quiet"])]
    # pip runs as a module, because it replaces its own script. It may be configured to install for the user.
    python = f"{ENVIRONMENT}/bin/python"
    pip = [python, "-m", "pip", *options, "--no-user"]
    uv = [f"{ENVIRONMENT}/bin/uv", "pip", *options, "--python", python, "--compile-bytecode", "--no-build-isolation"]
    tools = ENVIRONMENT / "tools.lock"
    tools.write_text("".join(map(locked, TOOLS)), encoding="utf-8")
    if subprocess.call([*pip, "--quiet", "--no-deps", "-r", tools]):
        return False
    UNFINISHED.touch()
    if not pip_has_its_own_index() and not subprocess.call([*uv, "-r", lock]):
        return True
    print("install: using pip, which takes minutes", file=sys.stderr, flush=True)
    return not subprocess.call([*pip, "--no-build-isolation", "--use-pep517", "-r", lock])


def main(lock: Path) -> int:
    """Install the lock file, one installation at a time; returns the exit code."""
    # NFS locks only a file that is open for writing.
    with Path(__file__).open("a", encoding="utf-8") as itself:
        fcntl.flock(itself, fcntl.LOCK_EX)
        if not is_whole():
            refuse_to_empty_a_link()
            print(f"install: making .venv with Python {sys.version.split()[0]}", file=sys.stderr, flush=True)
            try:
                # In this process, because its Python may be in the .venv that is cleared, and could not start another.
                venv.create(ENVIRONMENT, clear=True, with_pip=True)
            except ValueError as error:
                sys.exit(f"install: {str(error).rstrip('.')}; move the project to another folder")
            except subprocess.CalledProcessError as error:
                sys.exit(f"install: cannot make a virtual environment ({error}); on Debian install python3-venv")
        print(f"install: {lock.name} into .venv", file=sys.stderr, flush=True)
        UNFINISHED.touch()
        done = install(lock)
        if done or is_unchanged():
            UNFINISHED.unlink()
    return 0 if done else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected a lock file: python3 install.py requirements.lock")
    # Ctrl-C ends it without a traceback; the next one starts over.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(Path(sys.argv[1])))
