"""DVC's hashes of folders, and its rules for ignored files."""

import hashlib
import json
from collections.abc import Mapping

from pathspec import GitIgnoreSpec

# Lists files that are not part of a folder, in the syntax of .gitignore.
IGNORE = ".dvcignore"
# Patterns that DVC ignores in every repository.
ALWAYS_IGNORED = (".hg/", ".git/", ".git", ".dvc/")


def folder_md5(files: Mapping[str, str]) -> str:
    """Hash of a folder as in dvc.lock.

    Args:
        files: MD5 of every file that is not ignored, by its path relative to the folder.
    """
    listing = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def ignored_files(patterns: str) -> GitIgnoreSpec:
    """The files that DVC ignores if .dvcignore has these lines.

    Raises:
        ValueError: If a line is not a pattern.
    """
    return GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *map(str.strip, patterns.splitlines())])
